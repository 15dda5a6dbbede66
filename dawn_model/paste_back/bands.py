"""A part of the picture in pieces that the threads of a CPU work on side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_PIXELS = 1 << 17
"""Of a piece of a frame that one thread of a CPU works on: a few planes of it stay in the cache."""


@dataclass(frozen=True)
class Band:
    """Rows of the part from `start` on: `pieces` of `rows` each, which several threads work on.

    Beyond the last row of the part it is repeated.
    """

    start: int
    pieces: int
    rows: int

    def lines(self, height: int) -> Tensor:
        """[pieces, rows]: which rows of a part these are."""
        lines = torch.arange(self.start, self.start + self.pieces * self.rows)
        return lines.clamp(max=height - 1).view(self.pieces, self.rows)


def bands(height: int, width: int, device: torch.device) -> list[Band]:
    """A part of this size in the pieces that suit the device: on a CPU as many at a time as it has threads."""
    if device.type != "cpu":
        return [Band(0, 1, height)]
    threads = torch.get_num_threads()
    rounds = -(-height * width // (threads * _PIXELS))
    rows = -(-height // (rounds * threads))
    return [Band(start, threads, rows) for start in range(0, height, rows * threads)]


def in_pieces(planes: Tensor, band: Band) -> Tensor:
    """[C, h, w] → [pieces, C, rows, w]"""
    lines = band.lines(planes.shape[1])
    return planes[:, lines.to(planes.device)].movedim(1, 0).contiguous()
