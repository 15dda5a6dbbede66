"""float32 without TF32: NVIDIA cards since Ampere round what they multiply to 10 bits of mantissa if torch lets them,
and in convolutions it does by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

Setting = tuple[Any, str, Any]
"""A module of torch.backends, the name of its switch, and a value."""


@contextmanager
def exact_fp32(wanted: bool = True) -> Iterator[None]:
    """Products of float32 numbers stay float32 within; afterwards all is as the host had set it.

    Does nothing unless `wanted`. Where torch has both interfaces to this, reading the older one fails as long as the
    newer one says something else, so the older is set first and the newer only where TF32 is still on.
    """
    if not wanted:
        yield
        return
    older, newer = _older(), _newer()
    try:
        for module, name, _ in older:
            setattr(module, name, False)
        for module, name, _ in newer:
            if getattr(module, name) == "tf32":  # the host has set that for all operators at once
                setattr(module, name, "ieee")
        yield
    finally:
        for module, name, value in older + newer:
            setattr(module, name, value)


def _older() -> list[Setting]:
    """The switches that every torch has; those that the host has set by the newer interface can not be read."""
    found = []
    for module in (torch.backends.cuda.matmul, torch.backends.cudnn):
        with suppress(RuntimeError):
            found.append((module, "allow_tf32", module.allow_tf32))
    return found


def _newer() -> list[Setting]:
    """The switches of torch 2.9 and newer, one for each kind of operator."""
    if not hasattr(torch.backends.cudnn, "conv"):
        return []
    modules = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    return [(module, "fp32_precision", module.fp32_precision) for module in modules]
