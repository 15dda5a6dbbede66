"""What every node of ours has: a place in the menu and the search, and errors that a user sees on the node."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from . import host

CATEGORY = "DAWN"
LOADERS, STAGES, POSE, MOTION = (f"{CATEGORY}/{name}" for name in ("loaders", "stages", "pose", "motion"))
"""Where the Add Node menu lists a node; the first level has what most people need."""


def schema(
    node_id: str,
    display_name: str,
    category: str,
    search_aliases: list[str],
    advanced: tuple[str, ...] = (),
    **fields: Any,
) -> io.Schema:
    """A node's schema; what the running version of ComfyUI does not know yet is left out.

    advanced: widgets that newer frontends fold away until the user asks for them
    """
    for entry in fields["inputs"]:
        if entry.id in advanced:
            entry.extra_dict = {**(entry.extra_dict or {}), "advanced": True}
    if "search_aliases" in {field.name for field in dataclasses.fields(io.Schema)}:
        fields["search_aliases"] = search_aliases
    return io.Schema(node_id=node_id, display_name=display_name, category=category, **fields)


class DawnNode(io.ComfyNode):
    """A node whose error is shown on it. Newer frontends say only that a node failed, and hide the text."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        execute = cls.__dict__.get("execute")
        # ComfyUI makes clones of node classes; those inherit what is wrapped already.
        if isinstance(execute, classmethod) and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(_showing_errors(execute.__func__))


def _showing_errors(execute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def shown(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> Any:
        try:
            return execute(cls, *args, **kwargs)
        except Exception as error:
            if not host.is_cancelled(error):
                host.show_text(str(error) or type(error).__name__)
            raise

    return shown
