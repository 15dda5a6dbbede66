"""Counts the bytes of all tensors that are alive, operation by operation, without a GPU and without noise."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """`peak` is the most that tensors made inside the `with` block held at once. Scratch memory inside an
    operation is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if size == 0 or address in self._known:
            return

        def gone(_reference: weakref.ref) -> None:
            self._known.pop(address, None)
            self.now -= size

        self._known[address] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
