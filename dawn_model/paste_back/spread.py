"""Lays pictures of the square out in the upright part of the picture that holds it, some rows at a time.

On a turned square every pixel is looked up by itself. On an upright one all pixels of a column lie at the same place
between two of the frame's columns, so rows and columns are mixed one after the other: 8 products a pixel instead of
16, of whole lines that stay in the cache, and nothing is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .placement import Placement

_SHARPNESS = -0.75
"""Of the cubic, as in `grid_sample`."""


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


class Lines:
    """How each of n pixels of a line mixes k of another line: index and share [n, k]."""

    def __init__(self, index: Tensor, share: Tensor):
        self.index, self.share = index.contiguous(), share.contiguous()

    @classmethod
    def at(cls, positions: Tensor, length: int, cubic: bool) -> Lines:
        """Pixels at `positions` [n], -1..1 from edge to edge of a line of `length`; beyond its ends they repeat."""
        at = ((positions + 1) * length - 1) / 2
        first = at.floor()
        t = at - first
        if cubic:
            a = _SHARPNESS
            near = [((a + 2) * x - (a + 3)) * x * x + 1 for x in (t, 1 - t)]
            far = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in (t + 1, 2 - t)]
            shares = [far[0], near[0], near[1], far[1]]
        else:
            shares = [1 - t, t]
        steps = torch.arange(len(shares)) - (len(shares) // 2 - 1)
        index = (first.long()[:, None] + steps).clamp(0, length - 1)
        return cls(index, torch.stack(shares, dim=1))

    @classmethod
    def of(cls, weights: Tensor) -> Lines:
        """From how much [n, m] each of m pixels counts, most of it nothing."""
        most = int((weights != 0).sum(1).max())
        index = weights.abs().topk(most, dim=1).indices
        return cls(index, weights.gather(1, index))

    def to(self, device: torch.device) -> Lines:
        return Lines(self.index.to(device), self.share.to(device))

    def mix(self, rows: Tensor) -> Tensor:
        """[m, L] → [n, L]: each row of the result mixes k rows."""
        return F.embedding_bag(self.index, rows, per_sample_weights=self.share, mode="sum")

    def mix_columns(self, planes: Tensor) -> Tensor:
        """[P, H, m] → [P, H, n]"""
        count, height, length = planes.shape
        columns = planes.permute(2, 0, 1).reshape(length, count * height)
        return self.mix(columns).t().contiguous().view(count, height, -1)

    def of_planes(self, frames: int, planes: int, length: int, lines: Tensor) -> Lines:
        """The same for the `planes` planes of some frames, each of `length` rows, one after the other, and only for
        `lines` [pieces, r] of each.

        The rows of the result are those of each frame, piece by piece, plane by plane.
        """
        first = length * (planes * torch.arange(frames)[:, None] + torch.arange(planes))
        index = self.index[lines][None, :, None] + first[:, None, :, None, None]
        share = self.share[lines][None, :, None].expand_as(index)
        return Lines(index.flatten(0, 3), share.flatten(0, 3))


def resized(planes: Tensor, lines: Lines) -> Tensor:
    """[P, m, m] → [P, n, n], rows and columns alike."""
    across = lines.mix_columns(planes)
    return lines.mix_columns(across.mT).mT


class Spread:
    """Pictures of a square, [B, C, S, S], → as they lie in the part, [B · pieces, C, rows, w] for a band."""

    def __init__(self, place: Placement, size: int, cubic: bool, device: torch.device):
        self._grid, self._size, self._cubic, self._device = place.grid, size, cubic, device
        self._height, self._width = place.grid.shape[:2]
        self._of_band: dict[tuple[Band, int, int], Lines | Tensor] = {}
        self._lines = None
        if place.upright:
            sides = place.grid[0, :, 0], place.grid[:, 0, 1]
            columns, self._lines = (Lines.at(side, size, cubic) for side in sides)
            self._columns = columns.to(device)

    def lay(self, images: Tensor) -> Tensor:
        """[B, C, S, S] → what all bands have in common, for `rows`."""
        if self._lines is None:
            return images
        return self._columns.mix_columns(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def rows(self, laid: Tensor, band: Band) -> Tensor:
        count, channels = laid.shape[:2]
        known = self._known(band, count, channels)
        if isinstance(known, Lines):
            mixed = known.mix(laid.flatten(0, 2))
            return mixed.view(count * band.pieces, channels, band.rows, self._width)
        shared = laid[:, None].expand(-1, band.pieces, -1, -1, -1).flatten(0, 1)
        grid = known.expand(count, -1, -1, -1, -1).flatten(0, 1)
        mode = "bicubic" if self._cubic else "bilinear"
        return F.grid_sample(shared, grid, mode=mode, padding_mode="border", align_corners=False)

    def whole(self, image: Tensor) -> Tensor:
        """One picture [C, S, S] → [C, h, w]."""
        return self.rows(self.lay(image[None]), Band(0, 1, self._height))[0]

    def _known(self, band: Band, count: int, channels: int) -> Lines | Tensor:
        """What is the same for all frames, made once."""
        key = (band, count, channels) if self._lines is not None else (band, 1, 1)
        if key not in self._of_band:
            lines = band.lines(self._height)
            if self._lines is not None:
                known = self._lines.of_planes(count, channels, self._size, lines)
            else:  # both coordinates in planes of their own, which is how `grid_sample` reads them fastest
                known = self._grid[lines].movedim(-1, 1).contiguous().movedim(1, -1)
            self._of_band[key] = known.to(self._device)
        return self._of_band[key]
