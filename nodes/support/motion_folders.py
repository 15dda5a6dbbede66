"""Where motion files lie: DAWN Save Motion writes to the output folder, and what comes from elsewhere lies in
the input folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

from . import stored_files

SUFFIX = ".motion.safetensors"
NOTHING_FOUND = "(no motion file found)"
_FOLDERS = {"": folder_paths.get_input_directory, " [output]": folder_paths.get_output_directory}


def motion_names() -> list[str]:
    """What the loader offers, by core's way of naming: files in the output folder end in " [output]"."""
    names = []
    for annotation, folder in _FOLDERS.items():
        names += [name + annotation for name in stored_files.files_below(Path(folder()), (SUFFIX,))]
    return names or [NOTHING_FOUND]


def motion_path(name: str) -> Path:
    """Raises ValueError when there is no such file, or it is not in one of ComfyUI's folders."""
    if name == NOTHING_FOUND:
        raise ValueError(
            "motion: there is no motion file yet. Save one with DAWN Save Motion, or put one "
            "into the input folder"
        )
    path = stored_files.stored_file(name)
    if path is None:
        raise ValueError(
            f"motion: {name[:120]} is neither in the input nor in the output folder. Press R to refresh"
        )
    return path


def workflow_metadata(prompt: Any, extra: dict[str, Any] | None) -> dict[str, str]:
    """What core's savers write beside the data, unless the user switched that off."""
    if args.disable_metadata:
        return {}
    parts = {} if prompt is None else {"prompt": prompt}
    return {name: json.dumps(value) for name, value in {**parts, **(extra or {})}.items()}
