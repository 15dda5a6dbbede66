"""Files where ComfyUI keeps them: in its input and output folders, and read by its own safe loader."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import comfy.utils
import folder_paths
from torch import Tensor

from ...dawn_model.hardware.out_of_memory import NO_ROOM, is_out_of_memory

log = logging.getLogger(__name__)

MOST_ENTRIES = 20_000


def stored_file(name: str) -> Path | None:
    """A file of the input or output folder by core's way of naming, "name [output]"; None when none is there."""
    # A workflow from Windows separates folders by backslashes. What core makes of a name differs between versions.
    relative, root = folder_paths.annotated_filepath(name.replace("\\", "/"))
    roots = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    try:
        path = (Path(root or folder_paths.get_input_directory()) / relative).resolve()
        inside = any(path.is_relative_to(Path(root).resolve()) for root in roots)
        return path if inside and path.is_file() else None
    except (OSError, ValueError):  # no file can have such a name
        return None


def files_below(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names, relative to a folder, of the files in it and below that end so, sorted; ComfyUI's own folders may hold
    very many, so after `MOST_ENTRIES` no more are looked at."""
    found, waiting, looked_at = [], [folder], 0
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            looked_at += 1
            if looked_at > MOST_ENTRIES:
                log.warning("DAWN: only the first %d files of %s are listed", MOST_ENTRIES, folder)
                return sorted(found)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.name.lower().endswith(endings) and entry.is_file():
                found.append(Path(entry.path).relative_to(folder).as_posix())
    return sorted(found)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A flat file of named tensors, pickled or safetensors, by ComfyUI's own safe loader.

    Raises ValueError that names the file when it is damaged or holds something else.
    """
    try:
        state = comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise ValueError(NO_ROOM.format(path.name)) from error
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path.name} can not be read: it is damaged, incomplete or not a model file. "
            f"Download it again. ({reason})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path.name} holds something other than named tensors")
    return state
