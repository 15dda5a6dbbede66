"""How the pixels of a line mix those of another: rows and columns of an upright picture in another size or place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHARPNESS = -0.75
"""Of the cubic, as in `grid_sample`."""


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
