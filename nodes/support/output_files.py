"""Names of files in the output folder, for all savers alike."""

from __future__ import annotations

from pathlib import Path

import folder_paths

_LONGEST = 180
"""Bytes of a name: a number and an ending follow, and no file system takes more than 255."""


def next_output_path(prefix: str, suffix: str) -> Path:
    """A path with the next free number, as core's savers count; the prefix may hold a folder and %date% parts.

    Raises:
        ValueError: that begins with `filename_prefix`, when it is no place in the output folder.
    """
    output = Path(folder_paths.get_output_directory())
    slashed = prefix.replace("\\", "/")
    parts = Path(slashed).parts
    try:
        outside = not (output / slashed).resolve().is_relative_to(output.resolve())
    except (OSError, ValueError) as error:
        raise ValueError(f"filename_prefix: {prefix[:60]!r} can not be a file's name ({error})") from error
    nameless = not slashed.strip() or slashed.rstrip().endswith("/") or parts[-1:] in ((), ("..",))
    if nameless or outside or Path(prefix).is_absolute() or any(ord(letter) < 32 for letter in prefix):
        raise ValueError(
            f"filename_prefix: {prefix!r} is no place in the output folder. Use a name such as dawn/clip"
        )
    if any(len(part.encode()) > _LONGEST for part in parts):
        raise ValueError(
            f"filename_prefix: {prefix[:40]!r}… is too long for a file's name. Use at most {_LONGEST} letters "
            "(a third of that in Chinese or Japanese) between two slashes"
        )
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path("/".join(parts), str(output))
    except (OSError, ValueError) as error:
        raise ValueError(f"filename_prefix: {prefix!r} can not be used ({error})") from error
    return Path(folder) / f"{name}_{counter:05}_{suffix}"
