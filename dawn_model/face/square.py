"""A square, possibly turned, part of a picture: point maps and sampling.

Points are x, y in pixels of the picture, y down, with pixel centres at whole numbers: the top-left pixel
covers -0.5..0.5. Pictures are [H, W, C] floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """A square with centre (x, y), in pixels, turned clockwise (as one sees it) by `angle` radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @property
    def upright(self) -> bool:
        return self.angle == 0

    def _axes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return like.new_tensor([[cos, sin], [-sin, cos]]), like.new_tensor([self.x, self.y])

    def to_picture(self, unit: Tensor) -> Tensor:
        """[..., 2] from the square's own axes (-0.5..0.5 inside it) → pixels."""
        axes, centre = self._axes(unit)
        return unit * self.side @ axes + centre

    def from_picture(self, points: Tensor) -> Tensor:
        """[..., 2] pixels → the square's own axes; inverse of `to_picture`."""
        axes, centre = self._axes(points)
        return (points - centre) @ axes.mT / self.side


def shrink(picture: Tensor, factor: int) -> Tensor:
    """Box average over `factor`×`factor` pixels; [H, W, C] → [H // factor, W // factor, C].

    Works on a view, so an 8k picture costs one read and no copy. Up to `factor` - 1 rows and columns
    at the end are left out.
    """
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    if factor == 1:
        return picture.float()
    cells = picture[: height * factor, : width * factor].unflatten(1, (width, factor)).mean(2)
    return cells.unflatten(0, (height, factor)).mean(1).float()


def sample(
    picture: Tensor, region: Region, size: int, padding: str = "border", pixel_centres: bool = True
) -> Tensor:
    """What is inside the square, upright, as [size, size, C]: bilinear, box-averaged first when it shrinks.

    Args:
        padding: what lies beyond the picture: "zeros", "border" (the nearest pixel) or "reflection".
        pixel_centres: sample at the middle of every output pixel. MediaPipe's networks were made with
            the top-left corner instead, so they get False.
    """
    picture, origin = _surroundings(picture, region, margin=2 + 2 * region.side / size)
    factor = max(1, min(int(region.side / size), *picture.shape[:2]))
    small = shrink(picture, factor)
    ticks = (torch.arange(size, device=picture.device) + (0.5 if pixel_centres else 0.0)) / size - 0.5
    unit = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    edges = (region.to_picture(unit) - origin + 0.5) / factor
    grid = 2 * edges / edges.new_tensor([small.shape[1], small.shape[0]]) - 1
    image = small.permute(2, 0, 1)[None]
    return F.grid_sample(image, grid[None], padding_mode=padding, align_corners=False)[0].permute(1, 2, 0)


def _surroundings(picture: Tensor, region: Region, margin: float) -> tuple[Tensor, Tensor]:
    """The upright part of the picture that holds the square, as a view, and its top-left pixel (x, y).

    Keeps the cost of sampling in proportion to the square, whatever the picture's size. Where the square
    reaches beyond the picture, as much is added inside, for reflection has to find its pixels there.
    """
    height, width = picture.shape[:2]
    reach = region.side / 2 * (abs(math.cos(region.angle)) + abs(math.sin(region.angle))) + margin
    beyond = (reach - region.x, reach - region.y, region.x + reach - width, region.y + reach - height)
    reach += max(0.0, *beyond)
    left, right = (_clamp(region.x + sign * reach, width - 1) for sign in (-1, 1))
    top, bottom = (_clamp(region.y + sign * reach, height - 1) for sign in (-1, 1))
    origin = torch.tensor([left, top], dtype=torch.float32, device=picture.device)
    return picture[top : bottom + 1, left : right + 1], origin


def _clamp(value: float, last: int) -> int:
    return int(min(max(value, 0), last))
