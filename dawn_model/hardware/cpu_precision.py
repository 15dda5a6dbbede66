"""Whether a CPU is faster in bfloat16: those with AVX512-BF16, AMX or Arm's BF16 are, others convert every number."""

from __future__ import annotations

import functools
import time

import torch
from torch.nn import functional as F

WORTHWHILE = 1.3
"""bfloat16 costs precision, so it must gain at least this factor."""
_ROUNDS = 4


@functools.cache
def bf16_is_faster() -> bool:
    """Times one of the denoiser's convolutions in both precisions; about 0.3 s, once per process.

    By turns, because what else the machine does must not slow one of them alone: the other precision is another clip.
    """
    rounds = [(_seconds(torch.float32), _seconds(torch.bfloat16)) for _ in range(_ROUNDS)]
    fp32, bf16 = (min(times) for times in zip(*rounds, strict=True))
    return fp32 > WORTHWHILE * bf16


def _seconds(dtype: torch.dtype) -> float:
    """The best of a few calls, as other processes can only slow one down."""
    frames, width, side = 8, 128, 32
    x = torch.ones(frames, width, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(width, width, 3, 3, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(4):
            start = time.perf_counter()
            F.conv2d(x, kernel, padding=1)
            best = min(best, time.perf_counter() - start)
    return best
