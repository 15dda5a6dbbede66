"""Memory that runs out at a chosen allocation, on any machine."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LARGE = 16 << 10
"""Bytes: what is smaller always finds room."""


class ShortOfMemory(TorchDispatchMode):
    """Raises torch.OutOfMemoryError in place of the large allocation number `at`, counted from 0, and then at every
    `every`-th one after it; `seen` counts them. None never raises."""

    def __init__(self, at: int | None = None, every: int | None = None) -> None:
        super().__init__()
        self.seen = self.raised = 0
        self._at, self._every = at, every

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        known = {
            address(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)
        }
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.nbytes >= LARGE and address(tensor) not in known:
                self._allocated(tensor.nbytes)
        return result

    def _allocated(self, size: int) -> None:
        number, self.seen = self.seen, self.seen + 1
        if self._at is None or number < self._at:
            return
        if number == self._at or (self._every and (number - self._at) % self._every == 0):
            self.raised += 1
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes (a test)")


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
