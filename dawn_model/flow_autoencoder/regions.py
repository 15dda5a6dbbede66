"""Regions of a face as ellipses: position and shape, and the affine frame that carries one region to another.

See docs/model.md, "Flow autoencoder". A 2×2 covariance needs no LAPACK: everything here is in closed form,
differentiable and the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .warping import coordinate_grid


@dataclass(frozen=True)
class Regions:
    """K soft regions of B pictures, in grid coordinates -1..1.

    heatmap [B, K, h, w]: where each is, summing to 1
    shift   [B, K, 2]: centre (x, y)
    covar   [B, K, 2, 2]: spread
    """

    heatmap: Tensor
    shift: Tensor
    covar: Tensor

    @classmethod
    def from_heatmap(cls, heatmap: Tensor) -> Regions:
        grid = coordinate_grid(*heatmap.shape[-2:], like=heatmap)
        weight = heatmap[..., None]
        shift = (weight * grid).sum(dim=(2, 3))
        offset = grid - shift[:, :, None, None]
        covar = (weight[..., None] * offset[..., :, None] * offset[..., None, :]).sum(dim=(2, 3))
        return cls(heatmap, shift, covar)

    @property
    def axes(self) -> tuple[Tensor, Tensor]:
        return principal_axes(self.covar)

    @property
    def affine(self) -> Tensor:
        """[B, K, 2, 2]: carries the unit circle to the region's ellipse."""
        directions, lengths = self.axes
        return directions * lengths[..., None, :]

    def gaussian(self, height: int, width: int) -> Tensor:
        """An unnormalised bell of the region's centre and spread, [B, K, H, W], 1 at the centre."""
        offset = coordinate_grid(height, width, like=self.shift) - self.shift[:, :, None, None]
        inverse = inverse_2x2(self.covar)
        return torch.exp(-0.5 * torch.einsum("bkhwi,bkij,bkhwj->bkhw", offset, inverse, offset))


def principal_axes(covar: Tensor) -> tuple[Tensor, Tensor]:
    """Directions U [..., 2, 2] (columns, longest first) and lengths [..., 2]: covar = U·diag(lengths²)·Uᵀ.

    A singular value decomposition leaves signs open. Ours: U = [[cos, sin], [sin, -cos]] with the angle in
    (-90°, 90°], a reflection (determinant -1) as LAPACK gives for every covariance that is not exactly
    diagonal; the one sign common to both columns that may differ drops out in `carry`.
    """
    xx, xy, yy = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    cos, sin = angle.cos(), angle.sin()
    directions = torch.stack([torch.stack([cos, sin], dim=-1), torch.stack([sin, -cos], dim=-1)], dim=-2)
    middle, radius = 0.5 * (xx + yy), torch.hypot(0.5 * (xx - yy), xy)
    variances = torch.stack([middle + radius, (middle - radius).clamp_min(0)], dim=-1)
    return directions, variances.sqrt()


def inverse_2x2(matrix: Tensor) -> Tensor:
    """[..., 2, 2], same out."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    return adjugate / (a * d - b * c)[..., None, None]


def carry(source: Regions, driving: Regions) -> Tensor:
    """Matrices [B, K, 2, 2] that take offsets in the driving region to offsets in the source region.

    An ellipse turned by 180° is the same ellipse, so the sign is chosen to keep x pointing right.
    """
    matrix = source.affine @ inverse_2x2(driving.affine)
    return matrix * torch.sign(matrix[..., :1, :1])
