"""Blinks: their shape, a natural sequence of them from a seed, and where they are in a track."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..structures import FPS, HeadMotion

_CLOSING, _SHUT, _OPENING = 0.08, 0.04, 0.18
"""Seconds that the phases of a blink take: lids fall faster than they rise."""

_SPREAD = 0.6
"""Gaps between blinks vary by this share of their mean to either side."""

_SHUT_BELOW = 0.5
"""Eyes are shut below this share of how they are held open."""

_SHORTEST_GAP = _CLOSING + _SHUT + _OPENING


def shut_lids(blinks: Iterable[tuple[float, float]], frames: int) -> Tensor:
    """(moment in seconds, how far 0..1) of each blink → how far the lids are shut, [F] in 0..1.

    A moment is moved to the nearest frame, so that no blink falls between two frames.
    """
    lids = torch.zeros(frames)
    time = torch.arange(frames)
    for moment, amount in blinks:
        since = (time - round(moment * FPS)) / FPS
        falling = 1 + since / _CLOSING
        rising = 1 - (since - _SHUT) / _OPENING
        phase = torch.where(since < 0, falling, rising).clamp(0, 1)
        lids = torch.maximum(lids, amount * phase**2 * (3 - 2 * phase))
    return lids


def natural_blinks(per_minute: float, frames: int, seed: int) -> list[tuple[float, float]]:
    """Full blinks with irregular gaps. A longer clip only adds blinks at the end.

    Raises ValueError for a rate below zero.
    """
    if per_minute < 0:
        raise ValueError(f"{per_minute} blinks per minute: the rate must not be negative")
    if per_minute == 0:
        return []
    generator = torch.Generator().manual_seed(seed % 2**63)
    mean, blinks = 60 / per_minute, []
    moment = mean * float(torch.rand((), generator=generator))
    while moment * FPS < frames:
        blinks.append((moment, 1.0))
        gap = mean * (1 + _SPREAD * float(2 * torch.rand((), generator=generator) - 1))
        moment += max(gap, _SHORTEST_GAP)
    return blinks


def find_blinks(motion: HeadMotion) -> list[tuple[int, int]]:
    """First and one past the last frame of every moment in which both eyes together are shut."""
    openness = motion.blink.float().cpu().mean(1)
    shut = (openness < _SHUT_BELOW * torch.quantile(openness, 0.8)).int()
    edges = torch.cat([shut.new_zeros(1), shut, shut.new_zeros(1)]).diff()
    return list(
        zip((edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist(), strict=True)
    )
