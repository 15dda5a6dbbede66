"""Where DAWN's model files lie: models/dawn, and whatever extra_model_paths.yaml adds under `dawn`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import folder_paths

from ...dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL

FOLDER = "dawn"
AUDIO_ENCODERS = "audio_encoders"
EXTENSIONS = {".safetensors", ".sft", ".pth"}

EMBEDDED = "dawn-nano (built in)"
"""The loader's name for the model that comes with this plugin."""

NOTHING_FOUND = "(no audio encoder found)"


def register() -> None:
    """Make the folder and tell ComfyUI about it. Paths that the user configured stay first.

    A read-only models folder is no obstacle: the built-in model needs no file there.
    """
    folder = Path(folder_paths.models_dir) / FOLDER
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    folder_paths.add_model_folder_path(FOLDER, str(folder))
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)


def model_names() -> list[str]:
    """What the loader offers: the embedded model, converted models and denoisers. The authors' other files
    are found from the denoiser, so LFG_*.pth is not a choice of its own."""
    names = folder_paths.get_filename_list(FOLDER)
    return [EMBEDDED, *(name for name in names if not Path(name).name.upper().startswith("LFG"))]


def model_path(name: str) -> Path:
    """Raises ValueError that says where models belong when there is no such file."""
    if name == EMBEDDED:
        return EMBEDDED_MODEL
    path = _full_path(FOLDER, name)
    if path is None:
        folders = ", ".join(folder_paths.get_folder_paths(FOLDER))
        raise ValueError(
            f"model: {name[:120]} is not there. Put DAWN_128.pth (or DAWN_256.pth), LFG_128_1000ep.pth "
            f"(LFG_256_400ep.pth) and the folder pbnet from the authors' download, or a converted file, into "
            f"{folders} and press R to refresh, or choose {EMBEDDED}"
        )
    return Path(path)


def _full_path(folder: str, name: str) -> str | None:
    """A file by its name in the list, or by the name that Windows has for it."""
    return folder_paths.get_full_path(folder, name) or folder_paths.get_full_path(
        folder, name.replace("\\", "/")
    )


def model_roots() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER) if Path(folder).is_dir()]


def audio_encoder_names() -> list[str]:
    return folder_paths.get_filename_list(AUDIO_ENCODERS) or [NOTHING_FOUND]


def audio_encoder_path(name: str) -> Path:
    """Raises ValueError that says what to download and where it belongs."""
    folders = ", ".join(folder_paths.get_folder_paths(AUDIO_ENCODERS))
    path = None if name == NOTHING_FOUND else _full_path(AUDIO_ENCODERS, name)
    if path is None:
        missing = "there is no audio encoder yet" if name == NOTHING_FOUND else f"{name[:120]} is not there"
        raise ValueError(
            f"audio_encoder: {missing}. Download pytorch_model.bin or model.safetensors of "
            f"facebook/hubert-large-ls960-ft from Hugging Face into {folders}, then press R to refresh"
        )
    return Path(path)


def missing(find: Callable[[str], Path], name: str | None) -> str:
    """Why there is no such file, in the words of `find`; empty when there is, or when a wire brings the name."""
    if name is not None and not isinstance(name, str):
        return f"{name!r:.60} is no file's name"
    try:
        if name is not None:
            find(name)
    except ValueError as error:
        return str(error)
    return ""


def modified(path: Path) -> str:
    """Changes when the file does, so that a replaced file is loaded again."""
    status = path.stat()
    return f"{path}:{status.st_mtime_ns}:{status.st_size}"
