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
        return cls(index, weights.gather(1, index).float())

    def weights(self, length: int) -> Tensor:
        """[n, length] in float64: what `of` takes."""
        return torch.zeros(len(self.index), length, dtype=torch.float64).scatter_add_(
            1, self.index, self.share.double()
        )

    def to(self, device: torch.device) -> Lines:
        return Lines(self.index.to(device), self.share.to(device))

    def mix(self, rows: Tensor) -> Tensor:
        """[m, L] → [n, L]: each row of the result mixes k rows."""
        return F.embedding_bag(self.index, rows, per_sample_weights=self.share, mode="sum")

    def mix_columns(self, images: Tensor) -> Tensor:
        """[B, H, m, C] → [C · B · H, n], rows of all planes, one after the other."""
        count, height, length, channels = images.shape
        # Turned round as matrices, for which PyTorch has a faster copy than for more dimensions.
        columns = images.reshape(count * height, length * channels).t().contiguous()
        return self.mix(columns.view(length, -1)).t().contiguous()

    def of_planes(self, planes: Tensor, length: int, lines: Tensor) -> Lines:
        """The same for planes of `length` rows that lie one after the other, and only for `lines` [pieces, r] of each.

        planes [B, C]: the number of each frame's planes. The rows of the result are those of each frame, piece by
        piece, plane by plane.
        """
        index = self.index[lines][None, :, None] + length * planes[:, None, :, None, None]
        share = self.share[lines][None, :, None].expand_as(index)
        return Lines(index.flatten(0, 3), share.flatten(0, 3))


def resized(images: Tensor, lines: Lines) -> Tensor:
    """[B, m, m, C] → [B, n, n, C], rows and columns alike."""
    count, length, _, channels = images.shape
    across = lines.mix_columns(images).view(channels, count, length, -1)
    down = lines.mix_columns(across.permute(1, 3, 2, 0)).view(channels, count, across.shape[-1], -1)
    return down.permute(1, 3, 2, 0)


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
