"""Which errors say that memory has run out, on whatever device."""

from __future__ import annotations

import torch

_WORDS = (
    "out of memory", "not enough memory", "can't allocate memory", "alloc_failed", "could not allocate tensor",
)  # fmt: skip
"""CUDA's late errors and MPS, Windows' CPU, Linux' CPU, cuBLAS, DirectML."""

NO_ROOM = (
    "{} can not be read: memory ran out. Close what else uses it, or free it with ComfyUI's button; where there is "
    "plenty, the file is damaged: download it again"
)
"""For a file's name; a damaged one may ask for any size."""


def is_out_of_memory(error: BaseException) -> bool:
    """torch has an exception of its own for some devices; the others say it in words.

    What catches errors of a file asks this first, because the file may be whole.
    """
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
