"""Folders for as long as a process lives. What a killed one left, the next one removes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def own_folder(prefix: str, parent: Path | None = None) -> Path:
    """The path of a folder that only this process uses, `prefix` and its id; not made yet."""
    parent = parent or Path(tempfile.gettempdir())
    for folder in parent.glob(f"{prefix}*"):
        process = folder.name.removeprefix(prefix)
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
    return parent / f"{prefix}{os.getpid()}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
