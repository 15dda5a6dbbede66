"""Noise that depends on the user's seed and on nothing else.

Every frame of every draw has its own counter-based stream, so the same seed gives the same
noise on every machine, device, precision and chunk size, and the first N frames do not
depend on how long the clip is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FrameNoise:
    """Standard normal noise for one stage ("motion", "pose-blink") under one seed."""

    seed: int
    stage: str

    def __call__(self, draw: int, frames: int, *shape: int) -> Tensor:
        """The noise of draw number `draw` (0, 1, …): [frames, *shape], float32, on the CPU."""
        stage = int.from_bytes(hashlib.sha256(self.stage.encode()).digest()[:8], "big")
        key = np.array([self.seed % 2**64, stage], dtype=np.uint64)
        noise = np.empty((frames, *shape), dtype=np.float32)
        for frame in range(frames):
            # The counter's upper words name draw and frame; the stream runs in the lower ones.
            counter = np.array([0, 0, draw, frame], dtype=np.uint64)
            stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
            stream.standard_normal(out=noise[frame], dtype=np.float32)
        return torch.from_numpy(noise)


class DrawnAhead:
    """The same noise, of which the next draw is made in a thread while the device still computes.

    A long clip's draw takes the host as long as a whole step takes a large GPU. Only numbers are drawn in the
    thread; it does not touch the device.
    """

    def __init__(self, noise: Callable[..., Tensor], draws: int):
        """`draws`: how many will be asked for, in the order 0, 1, …; no more than these are made."""
        self._noise, self._draws = noise, draws
        self._thread = ThreadPoolExecutor(1, "dawn-noise")
        self._pending: tuple[tuple[int, ...], Future[Tensor]] | None = None

    def __call__(self, draw: int, *shape: int) -> Tensor:
        wanted, pending = (draw, *shape), self._pending
        self._pending = None
        drawn = pending[1].result() if pending and pending[0] == wanted else self._noise(*wanted)
        if draw + 1 < self._draws:
            following = (draw + 1, *shape)
            self._pending = following, self._thread.submit(self._noise, *following)
        return drawn
