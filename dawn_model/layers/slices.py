"""Runs layers over a part of a clip at a time, without changing what they compute.

Layers that treat frames (or pixels) independently may see them in any portions. Statistics that
span all frames are gathered over the portions before they are used. So slicing decides about memory
and speed alone; on a CPU, portions that fit the cache are also the fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CPU_BUDGET = 8 << 20
"""Bytes: fastest of 1, 2, 4 … 64 MiB on two cores; smaller portions are too many calls, larger ones leave the cache."""

GPU_BUDGET = 512 << 20
"""Bytes: 200 frames at 128 px, and most layers of 200 at 256 px, in one portion, so that neither is bound by launches;
where that much memory is not free, the plan halves it."""


@dataclass(frozen=True)
class Slices:
    """budget: bytes of the widest temporary of one portion; None computes everything at once
    store: where whole-clip activations are kept when they are sliced; None is the computing device
    between: called before every portion; may raise to stop, as a step of a long clip takes minutes on a CPU"""

    budget: int | None = None
    store: torch.device | None = None
    between: Callable[[], None] | None = None

    @classmethod
    def for_device(cls, device: torch.device) -> Slices:
        """Portions that suit a device with enough memory for the clip."""
        return cls(CPU_BUDGET if device.type == "cpu" else GPU_BUDGET)

    def frames(
        self,
        function: Callable[..., Tensor],
        *tensors: Tensor,
        device: torch.device,
        width: int,
        out: Tensor | None = None,
    ) -> Tensor:
        """function(*tensors) by portions of frames, the first axis of all of them [N, H, W, …].

        `width` is the number of channels of the widest temporary. `out`, which may be one of
        `tensors`, is overwritten where slicing happens; the result is what is returned.
        """
        first = tensors[0]
        pixels = first.shape[1] * first.shape[2] if first.ndim > 2 else 1
        size = self._rows(pixels * width * first.element_size())
        total = first.shape[0]
        if size >= total and self.store is None:
            return function(*tensors)
        for portion in self._portions(total, size):
            part = function(*(tensor[portion].to(device) for tensor in tensors))
            if out is None:
                out = self.empty((total, *part.shape[1:]), part.dtype, device)
            out[portion] = part
        return out

    def pixels(
        self,
        function: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        device: torch.device,
        width: int,
        out: Tensor | None = None,
    ) -> Tensor:
        """function(x) by portions of pixels, the second axis of x [F, P, C]; see `frames`."""
        frames, total, _ = x.shape
        size = self._rows(frames * width * x.element_size())
        if size >= total and self.store is None:
            return function(x)
        if out is None:
            out = self.empty(x.shape, x.dtype, device)
        for portion in self._portions(total, size):
            out[:, portion] = function(x[:, portion].to(device))
        return out

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Room for an activation of the whole clip."""
        return torch.empty(shape, dtype=dtype, device=self.store or device)

    def _portions(self, total: int, size: int) -> Iterator[slice]:
        for start in range(0, total, size):
            if self.between:
                self.between()
            yield slice(start, min(start + size, total))

    def _rows(self, row_bytes: int) -> int:
        return 1 << 62 if self.budget is None else max(1, self.budget // max(1, row_bytes))


WHOLE = Slices()
