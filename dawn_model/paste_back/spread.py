"""Lays pictures of the square out in the upright part of the picture that holds it, some rows at a time.

On a turned square every pixel is looked up by itself. On an upright one all pixels of a column lie at the same place
between two of the frame's columns, so rows and columns are mixed one after the other: 8 products a pixel instead of
16, of whole lines that stay in the cache, and nothing is looked up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .bands import Band
from .lines import Lines, resized
from .placement import Placement


class Spread:
    """Pictures of a square, [B, S, S, C], → as they lie in the part, [B, pieces, C, rows, w] for a band."""

    def __init__(
        self,
        place: Placement,
        size: int,
        cubic: bool,
        device: torch.device,
        before: Tensor | None = None,
    ):
        """before: pictures arrive with sides of m pixels and are brought to S first; [S, m]: how each of the S pixels
        of a line mixes those m"""
        self._grid, self._cubic, self._device = place.grid, cubic, device
        self._height, self._width = place.grid.shape[:2]
        self._of_band: dict[tuple[Band, int, int], Lines | Tensor] = {}
        self._lines = self._columns = self._before = None
        if place.upright:
            sides = place.grid[0, :, 0], place.grid[:, 0, 1]
            columns, self._lines = (Lines.at(side, size, cubic) for side in sides)
            if before is not None:  # two mixtures of lines in a row are one
                columns, self._lines = (
                    Lines.of(lines.weights(size) @ before.double()) for lines in (columns, self._lines)
                )
            self._columns = columns.to(device)
        elif before is not None:
            self._before = Lines.of(before).to(device)

    def lay(self, images: Tensor) -> Tensor:
        """[B, m, m, C] → [C, B, m or S, w or S], what all bands have in common, for `rows`."""
        if self._columns is not None:
            count, height, _, channels = images.shape
            return self._columns.mix_columns(images).view(channels, count, height, self._width)
        if self._before is not None:
            images = resized(images, self._before)
        return images.movedim(-1, 0).contiguous()

    def rows(self, laid: Tensor, band: Band) -> Tensor:
        channels, count = laid.shape[:2]
        known = self._known(band, channels, count, laid.shape[2])
        if isinstance(known, Lines):
            mixed = known.mix(laid.flatten(0, 2))
            return mixed.view(count, band.pieces, channels, band.rows, self._width)
        shared = laid.movedim(0, 1)[:, None].expand(-1, band.pieces, -1, -1, -1).flatten(0, 1)
        grid = known.expand(count, -1, -1, -1, -1).flatten(0, 1)
        mode = "bicubic" if self._cubic else "bilinear"
        looked_up = F.grid_sample(shared, grid, mode=mode, padding_mode="border", align_corners=False)
        return looked_up.unflatten(0, (count, band.pieces))

    def whole(self, image: Tensor) -> Tensor:
        """One picture [m, m, C] → [C, h, w]."""
        return self.rows(self.lay(image[None]), Band(0, 1, self._height))[0, 0]

    def _known(self, band: Band, channels: int, count: int, length: int) -> Lines | Tensor:
        """What is the same for all frames, made once."""
        key = (band, channels, count) if self._lines is not None else (band, 1, 1)
        if key not in self._of_band:
            lines = band.lines(self._height)
            if self._lines is not None:
                planes = torch.arange(channels * count).view(channels, count).t()
                known = self._lines.of_planes(planes, length, lines)
            else:  # both coordinates in planes of their own, which is how `grid_sample` reads them fastest
                known = self._grid[lines].movedim(-1, 1).contiguous().movedim(1, -1)
            self._of_band[key] = known.to(self._device)
        return self._of_band[key]
