"""Makes renders look less alike: the test is a photograph."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def _cloud(rng: np.random.Generator, channels: int, coarse: int, side: int, like: Tensor) -> Tensor:
    """Smooth random picture [1, channels, side, side] in 0..1 with about `coarse` blobs along each side."""
    seeds = torch.from_numpy(rng.random((1, channels, coarse, coarse), dtype=np.float32)).to(like)
    return F.interpolate(seeds, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)


def _background(rng: np.random.Generator, side: int, like: Tensor) -> Tensor:
    """Clouds at several scales, now and then with bars, [1, 3, side, side]."""
    picture = like.new_full((1, 3, side, side), 0.0) + rng.uniform(0, 0.6)
    for coarse in rng.choice([2, 3, 5, 9, 17, 40], size=rng.integers(1, 4), replace=False):
        picture = picture + rng.uniform(-0.6, 0.8) * _cloud(rng, 3, int(coarse), side, like)
    if rng.random() < 0.3:
        ticks = torch.linspace(0, 1, side, device=like.device)
        along = ticks[None, :] * np.cos(a := rng.uniform(0, np.pi)) + ticks[:, None] * np.sin(a)
        bars = torch.sign(torch.sin(along * rng.uniform(6, 60)))
        picture = picture + bars * torch.from_numpy(rng.normal(0, 0.15, (1, 3, 1, 1))).to(like)
    return picture.clamp(0, 1)


def random_look(pictures: Tensor, cover: Tensor, rng: np.random.Generator) -> Tensor:
    """One random background, colour, light, sharpness and noise for all pictures of a clip.

    pictures [N, 3, S, S] and cover [N, 1, S, S] in 0..1 → [N, 3, S, S] in 0..1
    """
    side = pictures.shape[-1]
    x = pictures + (1 - cover) * _background(rng, side, pictures)
    mix = torch.eye(3) * float(rng.uniform(0.6, 1.3)) + torch.from_numpy(rng.normal(0, 0.1, (3, 3))).float()
    x = torch.einsum("ij,njhw->nihw", mix.to(x), x)
    x = x + torch.from_numpy(rng.normal(0, 0.08, (1, 3, 1, 1)).astype(np.float32)).to(x)
    x = x * (0.6 + 0.8 * _cloud(rng, 1, 3, side, x))
    if rng.random() < 0.15:
        x = x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if rng.random() < 0.05:
        x = x[:, rng.permutation(3).tolist()]
    x = x.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.3:
        small = int(side * rng.uniform(0.45, 0.9))
        x = F.interpolate(x, size=(small, small), mode="area")
        x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    grain = torch.from_numpy(rng.normal(0, rng.uniform(0, 0.03), x.shape[1:]).astype(np.float32)).to(x)
    return (x + grain).clamp(0, 1)
