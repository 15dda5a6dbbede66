"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` when the block has ended.

    A block that fails leaves nothing. A process that is killed in it leaves at most `<name>.partial`, whose ending no
    reader of ours lists.

    Raises ValueError that names the file when it can not be written: a full disk, a folder without permission.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{path.name} can not be written ({reason}), and nothing is left of it. Free space in {path.parent}, or "
            "allow writing there, and run again"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
