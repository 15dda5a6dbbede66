"""What every node of ours has: a place in the menu and the search, and errors that a user sees on the node."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io

from ...dawn_model.hardware.exact_fp32 import exact_fp32
from . import feedback, host
from .given import check_given

CATEGORY = "DAWN"
LOADERS, STAGES, POSE, MOTION = (f"{CATEGORY}/{name}" for name in ("loaders", "stages", "pose", "motion"))
"""Where the Add Node menu lists a node; the first level has what most people need."""


def schema(
    node: type[DawnNode], inputs: list[io.Input], outputs: list[io.Output], **fields: Any
) -> io.Schema:
    """A node's schema; what the running version of ComfyUI does not know yet is left out."""
    for entry in inputs:
        if entry.id in node.advanced:
            entry.extra_dict = {**(entry.extra_dict or {}), "advanced": True}
    if "search_aliases" in {field.name for field in dataclasses.fields(io.Schema)}:
        fields["search_aliases"] = list(node.aliases)
    # ComfyUI makes clones of node classes under other names; the one that we wrote stands right below DawnNode.
    own = next(cls for cls in reversed(node.__mro__) if issubclass(cls, DawnNode) and cls is not DawnNode)
    return io.Schema(
        node_id=own.__name__,
        display_name=node.title,
        category=node.category,
        description=" ".join((own.__doc__ or "").split()),
        inputs=inputs,
        outputs=outputs,
        **fields,
    )


class DawnNode(io.ComfyNode):
    """A node whose error is shown on it: newer frontends say only that a node failed, and hide the text. It computes
    without TF32 where its model is in fp32.

    Its id is the class's name, and its description, which users read, the class's docstring.

    title: its name in ComfyUI; category: where the menu lists it; aliases: by what else the search finds it
    advanced: widgets that newer frontends fold away until the user asks for them
    """

    title: str
    category: str
    aliases: tuple[str, ...] = ()
    advanced: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        execute = cls.__dict__.get("execute")
        # ComfyUI makes clones of node classes; those inherit what is wrapped already.
        if isinstance(execute, classmethod) and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(_guarded(execute.__func__))


def _guarded(execute: Callable[..., Any]) -> Callable[..., Any]:
    """The same for inputs of the right kind, its errors shown on the node, and exact where the user chose fp32."""

    needed = [
        name
        for name, parameter in list(inspect.signature(execute).parameters.items())[1:]
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]

    @functools.wraps(execute)
    def run(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> Any:
        try:
            for name in needed[len(args) :]:  # a prompt may say that an input is null, and ComfyUI drops it
                if name not in kwargs:
                    raise ValueError(f"{name}: nothing arrived. Connect something to it")
            check_given(cls.SCHEMA or cls.define_schema(), kwargs)  # ComfyUI keeps the first
            with exact_fp32(_in_fp32(kwargs)):
                return execute(cls, *args, **kwargs)
        except Exception as error:
            if not host.is_cancelled(error):
                feedback.show_text(str(error) or type(error).__name__)
            raise

    return run


def _in_fp32(given: dict[str, Any]) -> bool:
    """Whether what computes in a node was loaded in fp32."""
    return torch.float32 in [getattr(given.get(name), "dtype", None) for name in ("model", "audio_encoder")]
