"""Cuts the square that DAWN animates out of a picture, and remembers the way back.

Upstream squashes a picture to a square; that deforms the face, so we crop. Points are x, y in pixels, y
down, with pixel centres at whole numbers, in the picture and in the crop alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .square import Region, sample
from .state import LANDMARKS_68, head_pose

MARGIN = 0.55
SHIFT = (0.0, -0.1)
"""The default framing: brows to chin take 48 % of the side, centred at 60 % of the height, so that the
whole head stands a little above the middle with some shoulder below; about the framing of the portraits
that DAWN's authors demonstrate with."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Crop:
    """A square `region` of a `height`×`width` picture, resized to `size`×`size` pixels."""

    region: Region
    size: int
    height: int
    width: int

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return self.size / self.region.side

    def to_crop(self, points: Tensor) -> Tensor:
        """[..., 2 or 3] picture pixels → crop pixels; z only changes its scale."""
        flat = (self.region.from_picture(points[..., :2]) + 0.5) * self.size - 0.5
        return torch.cat([flat, points[..., 2:] * self.scale], dim=-1)

    def from_crop(self, points: Tensor) -> Tensor:
        """[..., 2 or 3] crop pixels → picture pixels; inverse of `to_crop`."""
        flat = self.region.to_picture((points[..., :2] + 0.5) / self.size - 0.5)
        return torch.cat([flat, points[..., 2:] / self.scale], dim=-1)

    def corners(self) -> Tensor:
        """[4, 2]: the outer corners of the square in the picture, clockwise from its top left."""
        unit = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        return self.region.to_picture(unit)

    def cut(self, picture: Tensor) -> Tensor:
        """[H, W, C] → [size, size, C]; what lies beyond the picture is its mirror image.

        Raises:
            ValueError: the picture is not of the size this crop was made for.
        """
        if picture.shape[:2] != (self.height, self.width):
            raise ValueError(
                f"this crop is for a picture of {self.width}×{self.height}, "
                f"got {picture.shape[1]}×{picture.shape[0]}"
            )
        if not self.region.upright:
            return sample(picture, self.region, self.size, "reflection")
        corner = (self.region.x + 0.5 - self.region.side / 2, self.region.y + 0.5 - self.region.side / 2)
        across = _axis_weights(self.width, corner[0], self.region.side, self.size)
        down = _axis_weights(self.height, corner[1], self.region.side, self.size)
        return _resample(picture, down, across)


def crop_face(
    points: Tensor,
    height: int,
    width: int,
    size: int,
    margin: float = MARGIN,
    shift: tuple[float, float] = SHIFT,
    align_roll: bool = False,
) -> Crop:
    """A square round a face.

    Args:
        points: [478, 3] mesh points in pixels of the `height`×`width` picture.
        size: side of the result in pixels.
        margin: room on each side of the face (brows to chin), in sides of the face.
        shift: moves the square right and down, in sides of the square.
        align_roll: turns the square with the head, so that the head stands upright in the crop.

    Raises:
        ValueError: a margin that leaves nothing, numbers that are none, or points of no extent.
    """
    if not all(math.isfinite(value) for value in (margin, *shift)):
        raise ValueError(f"margin and shift must be numbers, got {margin}, {shift[0]} and {shift[1]}")
    if margin <= -0.5:
        raise ValueError(f"a margin of {margin} leaves nothing of the face; it must be above -0.5")
    angle = -math.radians(float(head_pose(points)[2])) if align_roll else 0.0
    upright = Region(0.0, 0.0, 1.0, angle)
    face = upright.from_picture(points[list(LANDMARKS_68), :2].float())
    low, high = face.amin(0), face.amax(0)
    side = float((high - low).max()) * (1 + 2 * margin)
    if not side > 0:
        raise ValueError("the face landmarks have no extent, so no crop can be placed round them")
    centre = (low + high) / 2 + side * face.new_tensor(shift)
    x, y = upright.to_picture(centre).tolist()
    return Crop(Region(x, y, side, angle), size, height, width)


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """[H, W, C] → [height, width, C], antialiased bilinear as Pillow's, without its rounding to 8 bits."""
    return _resample(
        picture, resize_weights(picture.shape[0], height), resize_weights(picture.shape[1], width)
    )


def resize_weights(length: int, size: int) -> Tensor:
    """How each of `size` pixels mixes those of a line of `length` in `resize`, [size, length]; rows sum to one."""
    return _axis_weights(length, 0.0, length, size)


def _axis_weights(length: int, start: float, extent: float, size: int) -> Tensor:
    """How each of `size` output pixels mixes the `length` pixels of a line; rows sum to one.

    The output covers start..start + extent in pixel edges. Beyond the line its mirror image is read. As
    in Pillow the triangle is as wide as an output pixel when shrinking, and never reaches beyond the crop.
    """
    step = extent / size
    taps = torch.arange(math.floor(start + 1e-6), math.ceil(start + extent - 1e-6), dtype=torch.float64)
    centres = start + (torch.arange(size, dtype=torch.float64) + 0.5) * step
    weights = (1 - (taps + 0.5 - centres[:, None]).abs() / max(step, 1.0)).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True)
    phase = taps.long() % (2 * length)
    mirrored = torch.where(phase < length, phase, 2 * length - 1 - phase)
    return torch.zeros(size, length, dtype=torch.float64).index_add_(1, mirrored, weights).float()


def _resample(picture: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """picture [H, W, C], down [h, H], across [w, W] → [h, w, C].

    A band of rows at a time, and only the part that has weight: an 8k picture is never copied whole.
    """
    down, across = down.to(picture.device), across.to(picture.device)
    top, bottom = _occupied(down)
    left, right = _occupied(across)
    result = torch.zeros(len(down), right - left, picture.shape[2], device=picture.device)
    for row in range(top, bottom, _ROWS_AT_ONCE):
        rows = slice(row, min(row + _ROWS_AT_ONCE, bottom))
        result += torch.einsum("hH,Hwc->hwc", down[:, rows], picture[rows, left:right].float())
    return torch.einsum("wW,hWc->hwc", across[:, left:right], result)


def _occupied(weights: Tensor) -> tuple[int, int]:
    """First and one past the last column that has any weight."""
    columns = weights.any(0).nonzero()
    return int(columns[0]), int(columns[-1]) + 1
