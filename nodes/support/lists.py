"""For nodes that take whole lists (`is_input_list`): ComfyUI's own pairing of lists, with an exception."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Real
from typing import Any


def one_call_each(inputs: dict[str, list[Any]], series: Collection[str]) -> list[dict[str, Any]]:
    """The arguments of every call that ComfyUI would make for these lists: as many as the longest list has
    elements, shorter ones repeating their last.

    An input named in `series` that arrives as a list of numbers is one series and stays whole.
    """
    series = {name for name in series if all(isinstance(part, Real) for part in inputs.get(name, []))}
    paired = {name: values for name, values in inputs.items() if name not in series}
    calls = max(len(values) for values in paired.values())
    whole = {name: inputs[name] for name in series & inputs.keys()}
    return [
        {name: values[min(call, len(values) - 1)] for name, values in paired.items()} | whole
        for call in range(calls)
    ]
