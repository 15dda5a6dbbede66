"""Moving a picture or its features along a sampling grid, and mixing the result by visibility.

The grid is absolute: at every target pixel it holds the source point (x, y) in -1..1 to look at.
Coordinates are always sampled and resized in float32, whatever the features' dtype: near ±1
bfloat16 steps by 1/256, which is half a pixel of a 256-pixel picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel positions as (x, y), [H, W, 2], from -1 to 1 inclusive, on the device and dtype of `like`.

    `grid_sample` below counts -1 and 1 as the picture's outer edges, so sampling with this grid
    shrinks the picture by half a pixel. The model was trained that way; it stays.
    """
    y, x = (2 * torch.arange(n, device=like.device, dtype=like.dtype) / (n - 1) - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, pixel centres at half positions. [F, C, h, w] → [F, C, *size]."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def warp(source: Tensor, grid: Tensor) -> Tensor:
    """Sample one source at every frame's grid.

    Args:
        source: [1, C, H, W], shared by all frames and never copied for them, or [F, C, H, W]
        grid:   [F, H', W', 2], float32

    Returns [F, C, H', W'] in the source's dtype; what lies outside the source is zero.
    """
    shared = source.float().expand(grid.shape[0], -1, -1, -1)
    sampled = F.grid_sample(shared, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.to(source.dtype, memory_format=torch.channels_last)


class MotionPyramid:
    """The flow and the occlusion of some frames, resized once for each size they are needed in."""

    def __init__(self, flow: Tensor, occlusion: Tensor):
        """flow [F, h, w, 2]; occlusion [F, 1, h, w]."""
        self.maps = torch.cat([flow.movedim(-1, 1).contiguous(), occlusion], dim=1).float()
        self.resized: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The grid [F, *size, 2] and the occlusion [F, 1, *size]."""
        if size not in self.resized:
            maps = resize(self.maps, size)
            self.resized[size] = maps[:, :2].movedim(1, -1).contiguous(), maps[:, 2:]
        return self.resized[size]

    def warp(self, source: Tensor) -> Tensor:
        """[1, C, H, W] → [F, C, H, W]."""
        grid, _ = self.at(tuple(source.shape[-2:]))
        return warp(source, grid)

    def visible(self, warped: Tensor) -> Tensor:
        """What may be seen of the warped source, the rest black. [F, C, H, W], same out."""
        _, occlusion = self.at(tuple(warped.shape[-2:]))
        return warped * occlusion.to(warped.dtype)

    def blend(self, warped: Tensor, generated: Tensor) -> Tensor:
        """What is visible in the source comes from there, the rest is generated. All [F, C, H, W]."""
        _, occlusion = self.at(tuple(warped.shape[-2:]))
        return torch.lerp(generated, warped, occlusion.to(warped.dtype))
