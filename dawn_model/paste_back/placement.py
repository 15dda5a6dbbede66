"""Where a portrait's square lies in the picture that it is pasted back into."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..face.crop import Crop
from ..face.landmarker import SKIN_POINTS

REGIONS = ("square", "face")
WHOLE = "whole"
"""The region of a square that is not pasted into anything."""

_MASK_SIZE = 256
_ROUND = 0.25
"""Radius of the square's corners, in sides, and the widest border."""

_GROW = 1.12
"""How far the pasted face reaches beyond the mesh, which ends at the hairline and the jaw."""


def part_of(crop: Crop, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the upright part of a `height`×`width` picture that holds the square."""
    corners = (crop.corners() + 0.5) * torch.tensor([width / crop.width, height / crop.height])
    (left, top), (right, bottom) = corners.amin(0).tolist(), corners.amax(0).tolist()
    columns = slice(_clamp(math.floor(left), width - 1), max(1, _clamp(math.ceil(right), width)))
    rows = slice(_clamp(math.floor(top), height - 1), max(1, _clamp(math.ceil(bottom), height)))
    return rows, columns


class Placement:
    """The upright part of a `height`×`width` picture that holds the square, and the maps between the two.

    rows, columns: that part, as slices
    upright: whether the square is
    grid [h, w, 2]: where each of its pixels lies in the square, -1..1 from edge to edge
    """

    def __init__(self, crop: Crop, height: int, width: int):
        self._region = crop.region
        self.upright = crop.region.upright
        self._scale = torch.tensor([width / crop.width, height / crop.height])
        self.rows, self.columns = part_of(crop, height, width)
        x, y = (torch.arange(part.start, part.stop) + 0.5 for part in (self.columns, self.rows))
        pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1) / self._scale - 0.5
        self.grid = 2 * self._region.from_picture(pixels)

    @property
    def side(self) -> float:
        """Of the square, in pixels of the picture that is pasted into."""
        return self._region.side * float(self._scale.mean())

    def to_part(self, points: Tensor) -> Tensor:
        """[..., 2] in the square, -1..1 → in the upright part, -1..1; the inverse of `grid`."""
        corners = self._to_part(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        (x0, y0), (xx, yx), (xy, yy) = corners[0].tolist(), *(corners[1:] - corners[0]).tolist()
        # Number by number: in a product of matrices a device may round the factors, and half a pixel would be lost.
        x, y = points.unbind(-1)
        return torch.stack([xx * x + xy * y + x0, yx * x + yy * y + y0], dim=-1)

    def _to_part(self, points: Tensor) -> Tensor:
        edges = (self._region.to_picture(points / 2) + 0.5) * self._scale
        corner = edges.new_tensor([self.columns.start, self.rows.start])
        extent = edges.new_tensor([self.columns.stop, self.rows.stop]) - corner
        return 2 * (edges - corner) / extent - 1


def _clamp(value: int, last: int) -> int:
    return min(max(value, 0), last)


def paste_mask(points: Tensor, region: str, feather: float) -> Tensor:
    """How much of the square is pasted, [256, 256, 1] in 0..1.

    Args:
        points: face mesh [478, 2 or 3] in the square, -1..1.
        region: "square", all of it, fading towards its border; "face", the hull of the mesh; or WHOLE.
        feather: how wide the border fades, in sides of the square.

    Raises:
        ValueError: an unknown region, or a width that is none.
    """
    if not 0 <= feather <= _ROUND:
        raise ValueError(f"feather: {feather} of the square's side can not fade; give 0 to {_ROUND}")
    if region == WHOLE:
        return torch.ones(_MASK_SIZE, _MASK_SIZE, 1)
    if region == "square":
        depth = _depth_of_square()
    elif region == "face":
        depth = _depth_of_hull(points[:SKIN_POINTS, :2]) + feather / 2
    else:
        raise ValueError(f"region: {region!r} is none; choose one of {', '.join(REGIONS)}")
    inside = (depth / max(feather, 1 / _MASK_SIZE)).clamp(0, 1)
    return (inside * inside * (3 - 2 * inside))[..., None]


def _depth_of_square() -> Tensor:
    """Distance to the border of a square with round corners, in sides, where it is below _ROUND."""
    ticks = (torch.arange(_MASK_SIZE) + 0.5) / _MASK_SIZE
    edge = torch.minimum(ticks, 1 - ticks)
    x, y = torch.meshgrid(edge, edge, indexing="xy")
    return (_ROUND - (_ROUND - torch.stack([x, y])).clamp(min=0).norm(dim=0)).clamp(min=0)


def _depth_of_hull(points: Tensor) -> Tensor:
    """Distance to the border of the points' hull, a little grown, in sides; negative outside."""
    # Imported where it is needed: starting ComfyUI need not wait for it.
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import ConvexHull

    corners = points.double().numpy()
    hull = corners[ConvexHull(corners).vertices]
    centre = (hull.max(0) + hull.min(0)) / 2
    pixels = ((centre + _GROW * (hull - centre)) / 2 + 0.5) * _MASK_SIZE
    drawn = Image.new("1", (_MASK_SIZE, _MASK_SIZE))
    ImageDraw.Draw(drawn).polygon(
        [tuple(corner) for corner in np.clip(pixels, -1e4, 1e4).round().tolist()], fill=1
    )
    inside = np.asarray(drawn)
    depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return torch.from_numpy(depth).float() / _MASK_SIZE
