"""Room for large results in the computer's own memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_NUMPY = {torch.float32: np.float32, torch.float16: np.float16}


def empty_on_host(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """As `torch.empty`, in large pages where the system lets a program ask for them.

    The system hands memory out when it is first written to, 4 KB at a time, and that takes longer than the writing of a
    frame itself. NumPy asks for pages of 2 MB where Linux has them, PyTorch does not. Types that NumPy does not know
    come from PyTorch.
    """
    if dtype not in _NUMPY:
        return torch.empty(*shape, dtype=dtype)
    return torch.from_numpy(np.empty(shape, _NUMPY[dtype]))
