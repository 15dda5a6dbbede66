"""The widgets of a node: name, default, what it may be, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
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


def choice(name: str, options: Sequence[str], default: str, tooltip: str, **others: Any) -> io.Combo.Input:
    """default: "" for the first of them, as where the options are files"""
    return io.Combo.Input(name, options=list(options), default=default or None, tooltip=tooltip, **others)


def switch(name: str, default: bool, tooltip: str, **options: Any) -> io.Boolean.Input:
    return io.Boolean.Input(name, default=default, tooltip=tooltip, **options)


def text(name: str, default: str, tooltip: str, **options: Any) -> io.String.Input:
    return io.String.Input(name, default=default, tooltip=tooltip, **options)
