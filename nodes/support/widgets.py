"""Numbers on a node, each in one line: name, default, limits, step, and what it does."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


def decimal(
    name: str, default: float, limits: tuple[float, float], step: float, tooltip: str, **options: Any
) -> io.Float.Input:
    low, high = limits
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **options)


def whole(name: str, default: int, limits: tuple[int, int], tooltip: str, **options: Any) -> io.Int.Input:
    low, high = limits
    return io.Int.Input(name, default=default, min=low, max=high, tooltip=tooltip, **options)
