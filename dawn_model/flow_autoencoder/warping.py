"""Moving a picture or its features along a sampling grid, and mixing the result by visibility.

The grid is absolute: at every target pixel it holds the source point (x, y) in -1..1 to look at.
Coordinates are always sampled and resized in float32, whatever the features' dtype: near ±1
bfloat16 steps by 1/256, which is half a pixel of a 256-pixel picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ROW_CHANNELS = 16
"""From this many channels on, a CPU looks pixels up as rows of channels."""


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
    if source.device.type == "cpu" and source.shape[1] >= ROW_CHANNELS and not torch.is_grad_enabled():
        sampled = _warp_rows(source.float(), grid)
    else:
        shared = source.float().expand(grid.shape[0], -1, -1, -1)
        sampled = F.grid_sample(shared, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.to(source.dtype, memory_format=torch.channels_last)


def _warp_rows(source: Tensor, grid: Tensor) -> Tensor:
    """The same as a weighted sum of four rows of channels for each target pixel: twice as fast on a CPU, and
    channels-last already."""
    sources, channels, height, width = source.shape
    column, row = (((grid[..., i] + 1) * side - 1) / 2 for i, side in enumerate((width, height)))
    left, top = column.floor(), row.floor()
    right_share, lower_share = column - left, row - top
    first = torch.arange(sources).view(-1, 1, 1) * (height * width)
    indices, weights = [], []
    for y, y_share in ((top, 1 - lower_share), (top + 1, lower_share)):
        for x, x_share in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            indices.append(first + y.long().clamp(0, height - 1) * width + x.long().clamp(0, width - 1))
            weights.append(y_share * x_share * inside)
    rows = source.permute(0, 2, 3, 1).reshape(-1, channels)
    corners = torch.stack(indices, dim=-1).view(-1, 4), torch.stack(weights, dim=-1).view(-1, 4)
    summed = F.embedding_bag(corners[0], rows, per_sample_weights=corners[1], mode="sum")
    return summed.view(*grid.shape[:3], channels).permute(0, 3, 1, 2)


class MotionPyramid:
    """The flow and the occlusion of some frames, resized once for each size they are needed in."""

    def __init__(self, flow: Tensor, occlusion: Tensor, sharper_edges: float = 0.0):
        """flow [F, h, w, 2]; occlusion [F, 1, h, w]; sharper_edges: see `FlowAutoencoderConfig`."""
        self.maps = torch.cat([flow.movedim(-1, 1).contiguous(), occlusion], dim=1).float()
        self.sharper_edges = sharper_edges
        self.resized: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The grid [F, *size, 2] and the occlusion [F, 1, *size]."""
        if size not in self.resized:
            maps = resize(self.maps, size)
            grid = maps[:, :2].movedim(1, -1).contiguous()
            self.resized[size] = grid, self._sharpened(maps[:, 2:])
        return self.resized[size]

    def _sharpened(self, occlusion: Tensor) -> Tensor:
        enlarged = occlusion.shape[-1] / self.maps.shape[-1]
        if not self.sharper_edges or enlarged <= 1:
            return occlusion
        return ((occlusion - 0.5) * (1 + self.sharper_edges * (enlarged - 1)) + 0.5).clamp(0, 1)

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
