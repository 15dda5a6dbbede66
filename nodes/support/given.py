"""What arrives at a node is of the kind that its inputs say: ComfyUI checks what is typed into widgets, and nothing
that comes over a wire from a node with an output of any type (switches, scripts)."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

_TEXTS = {"STRING": "a text", "COMBO": "one of its choices"}
_NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}
_PICTURES = {"IMAGE": "pictures", "MASK": "a mask"}
_OURS = {
    "DAWN_MODEL": ("LoadedModel", "DAWN Load Model"),
    "DAWN_AUDIO": ("Speech", "DAWN Encode Audio"),
    "DAWN_PORTRAIT": ("Portrait", "DAWN Prepare Portrait"),
    "DAWN_POSE": ("HeadMotion", "DAWN Generate Pose & Blink"),
    "DAWN_MOTION": ("Motion", "DAWN Sample Motion"),
}
"""Type of a socket → the class's name, as another copy of this plugin has it too, and what to connect."""


def check_given(schema: io.Schema, given: Mapping[str, Any]) -> None:
    """Raises ValueError, that begins with the input's name, for a value of another kind or beyond a widget's limits."""
    for entry in schema.inputs:
        if entry.id not in given:
            continue
        value = given[entry.id]
        # A node that takes whole lists gets each input as one.
        for single in value if schema.is_input_list and isinstance(value, list) else [value]:
            if single is not None or not entry.optional or _is_set(entry):
                _check(entry, single)


def _is_set(entry: io.Input) -> bool:
    """Whether an input is a widget, which always has a value; an optional socket may have none."""
    return getattr(entry, "default", None) is not None


def _check(entry: io.Input, value: Any) -> None:
    kind, name = str(entry.get_io_type()), entry.id
    if kind in _TEXTS and not isinstance(value, str):
        raise ValueError(f"{name}: expected {_TEXTS[kind]}, and {_described(value)} arrived")
    if kind == "BOOLEAN" and not (
        isinstance(value, numbers.Integral) or type(value).__name__.startswith("bool")
    ):
        raise ValueError(f"{name}: expected yes or no, and {_described(value)} arrived")
    if kind in _NUMBERS:
        if not isinstance(value, numbers.Integral if kind == "INT" else numbers.Real):
            raise ValueError(f"{name}: expected {_NUMBERS[kind]}, and {_described(value)} arrived")
        if not entry.min <= value <= entry.max:
            shown = "no number" if value != value else _described(value)
            raise ValueError(f"{name}: {shown} arrived. Choose {entry.min:g} to {entry.max:g}")
    # Nodes say themselves what to connect where no picture came; arrays are pictures to some packs.
    if kind in _PICTURES and value is not None and not hasattr(value, "shape"):
        raise ValueError(f"{name}: expected {_PICTURES[kind]}, and {_described(value)} arrived")
    if kind in _OURS:
        wanted, source = _OURS[kind]
        if type(value).__name__ != wanted:
            raise ValueError(f"{name}: {_described(value)} arrived. Connect {source}")


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (bool, int, float, str)):
        huge = isinstance(value, int) and value.bit_length() > 128  # Python refuses to write out the largest
        shown = "a huge number" if huge else repr(value)
        return shown if len(shown) <= 60 else f"{shown[:57]}…"
    return f"a {type(value).__name__}"
