"""Makes renders look, and synthetic voices sound, less alike: the test is a photograph and a real voice."""

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


def random_hearing(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Another throat, microphone, room, level and noise. Normalised log energies [T, bands], same out."""
    bands = mel.shape[1]
    if rng.random() < 0.8:
        mel = _other_throat(mel, float(np.exp(rng.normal(0, 0.12))))
    if rng.random() < 0.3:
        mel = _blurred(mel, int(rng.integers(1, 3)))
    if rng.random() < 0.3:
        mel = _reverberant(mel, float(rng.uniform(0.3, 0.8)))
    mel = mel.mean() + (mel - mel.mean()) * float(rng.uniform(0.75, 1.25))
    tilt = np.linspace(-1, 1, bands) * rng.normal(0, 0.3) + rng.normal(0, 0.15, bands) + rng.normal(0, 0.15)
    mel = mel + torch.from_numpy(tilt.astype(np.float32)).to(mel)
    if rng.random() < 0.6:  # in natural logarithms one unit of these energies is three
        floor = rng.uniform(-2.5, -0.7) + np.linspace(-1, 1, bands) * rng.normal(0, 0.3)
        room = torch.from_numpy((floor + rng.normal(0, 0.1, mel.shape)).astype(np.float32)).to(mel)
        mel = torch.logaddexp(mel * 3, room * 3) / 3
    if rng.random() < 0.3:
        first = int(rng.integers(bands - 8))
        mel = mel.clone()
        mel[:, first : first + int(rng.integers(2, 8))] = mel.mean()
    return mel.clamp(-2.5, 2.5)


def _other_throat(mel: Tensor, factor: float) -> Tensor:
    """Formants moved up or down: the band axis stretched by `factor`."""
    bands = mel.shape[1]
    place = (torch.arange(bands).to(mel) / factor).clamp(0, bands - 1)
    low = place.floor().long().clamp(max=bands - 2)
    return torch.lerp(mel[:, low], mel[:, low + 1], place - low)


def _blurred(mel: Tensor, reach: int) -> Tensor:
    """Wider formants: the mean over neighbouring bands."""
    return F.avg_pool1d(mel[None], 2 * reach + 1, 1, reach, count_include_pad=False)[0]


def _reverberant(mel: Tensor, decay: float) -> Tensor:
    """Sound that dies away instead of stopping, by `decay` units per column of 10 ms at least."""
    fallen = decay * torch.arange(len(mel)).to(mel)[:, None]
    return (mel + fallen).cummax(0).values - fallen
