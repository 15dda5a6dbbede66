"""The weights and inputs behind the golden tensors: a deterministic rule instead of stored files.

Every tensor is drawn from a generator seeded by the SHA-256 of its full official name.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
MANIFESTS = GOLDEN / "manifests"

_ONE_LIKE = {"gamma", "g", "q_scale", "k_scale", "running_var"}
_LFG = ("generator.", "region_predictor.", "bg_predictor.")


def generator(key: str) -> np.random.Generator:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.Philox(seed))


def normal(key: str, *shape: int) -> Tensor:
    """Standard normal input tensor for `key`."""
    return torch.from_numpy(generator(key).standard_normal(shape, dtype=np.float32))


def _gain(key: str) -> float:
    if key == "region_predictor.regions.weight":
        return 4.0
    return 1.4142135 if key.startswith(_LFG) else 1.0


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """A weight tensor by its full official key."""
    draws = generator(key).standard_normal(shape, dtype=np.float32)
    last = key.rsplit(".", 1)[-1]
    if last in _ONE_LIKE or (last == "weight" and len(shape) == 1):
        values = np.maximum(np.float32(1) + np.float32(0.1) * draws, np.float32(0.5))
    elif len(shape) >= 2:
        values = draws * np.float32(_gain(key) / math.sqrt(int(np.prod(shape[1:]))))
    else:
        values = np.float32(0.1) * draws
    return torch.from_numpy(values)


def manifest(name: str) -> dict[str, dict]:
    """The tensors of one official file: full key → {shape, dtype, recipe}."""
    return json.loads((MANIFESTS / f"{name}.json").read_text())["tensors"]
