"""Pictures and sounds that a node shows beside its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import feedback


def preview(make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What `make` writes into ComfyUI's temporary folder, for the `ui` of a node; None, said on the node and in the
    log, when it can not be written: a full disk must not cost a result that needs none."""
    try:
        return make()
    except OSError as error:
        feedback.advise(
            [
                f"it can not be shown ({error.strerror or error}). The results are as they should be; free space on "
                "the disk that holds ComfyUI's temporary folder"
            ],
            "preview",
        )
        return None
