"""One number per frame, as other nodes send them: a number, a list, a list in a list, an array or a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor


def frame_numbers(value: Any, frames: int, name: str) -> Tensor:
    """Whatever arrived at the input `name` → [F] float32 on the CPU. A single number holds for all frames.

    Raises ValueError for another count, for values that are no numbers and for NaN or infinity.
    """
    numbers = torch.tensor(list(_flat(value, name)), dtype=torch.float32)
    if len(numbers) == 1:
        numbers = numbers.expand(frames).clone()
    if len(numbers) != frames:
        raise ValueError(
            f"{name}: {len(numbers)} numbers arrived and the clip has {frames} frames. Send one number per frame "
            "(DAWN Encode Audio tells how many), or a single one for the whole clip"
        )
    wrong = (~numbers.isfinite()).nonzero()
    if len(wrong):
        raise ValueError(
            f"{name}: the number of frame {int(wrong[0])} is NaN or infinite. Send finite numbers"
        )
    return numbers


def _flat(value: Any, name: str):
    if isinstance(value, (Tensor, np.ndarray)):
        yield from _flat(value.tolist(), name)
    elif isinstance(value, Real):
        yield float(value)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for part in value:
            yield from _flat(part, name)
    else:
        raise ValueError(
            f"{name}: expected numbers, one per frame, and got {type(value).__name__} {value!r:.60}"
        )
