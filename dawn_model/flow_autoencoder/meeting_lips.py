"""Lips of an open mouth that meet.

Motion that shuts an open mouth leads from one lip to the other within a cell of the motion grid. What is interpolated
in between shows the teeth, and cells are so large that the lips' edges become stairs. Here the distance from where the
lips meet is interpolated instead of the place that is looked up: that distance has no jump, so the line is smooth and
both lips keep their own pixels up to it.

Axes: F frames, S picture side, h and w motion-latent size. Lengths in halves of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import InnerLips
from .warping import resize, warp

_NEAR = 0.18
"""In iris distances: so far from the line in which they meet, lips are drawn anew; up to twice as far, mixed in."""
_AJAR = 0.03
"""Gap in iris distances that is drawn between lips that are about to meet."""
_MIXED_IN = 0.1
"""How far lips are to meet where they are wholly drawn anew; mixed with the frame for longer, teeth shine through."""
_LINE_DEPTH, _LINE_WIDTH = 0.42, 0.025
"""Between lips that are shut it is darker: by so much of the lips' own light, where a bell curve of that width (in iris
distances) is 1/e. On ten real people: .30 to .76 (`shut_line` of the evaluation), and .02 to .03."""
_SMOOTHED_CELLS = 1.0
"""Deviation of the bell curve that smooths the distance, in cells."""
_TELLS_SIDES = 0.1
"""Share of a way across the open mouth that counts, so that points between the lips belong to the nearer one."""


@dataclass(frozen=True)
class Seam:
    """The line in which lips meet, for every frame's pixels.

    upper  [F, S, S, 2]: where to look if the pixel belongs to the upper lip and to what lies behind it; lower: the same
           of the lower lip
    share  [F, 1, S, S]: of the lower lip in the pixel, 0..1
    line   [F, 1, S, S]: how dark it is between the lips, 0..1
    weight [F, 1, S, S]: how far the pixel is drawn so at all, 0..1
    """

    upper: Tensor
    lower: Tensor
    share: Tensor
    line: Tensor
    weight: Tensor


def seam_of(lips: InnerLips, flow: Tensor, shut: Tensor, size: int) -> Seam:
    """Of a portrait with those lips.

    Args:
        flow: [F, h, w, 2], absolute sampling grid
        shut: [F], how far the lips are to meet, 0..1; between both, the lower lip has not come all the way
        size: side of the pictures
    """
    flow, shut = flow.float(), shut.float()[:, None, None, None]
    distance = _smoothed(_from_the_line(_looked_up(lips, flow)))
    distance = F.interpolate(distance, size=(size, size), mode="bicubic", align_corners=False)
    grid = resize(flow.movedim(-1, 1), (size, size)).movedim(1, -1)
    below_upper, below_lower, inside = _looked_up(lips, grid).split(1, dim=1)
    unit = lips.iris_distance
    ajar = (1 - shut) * _AJAR * unit / 2
    upper_depth = torch.minimum(distance + ajar, (below_upper - below_lower).clamp(min=0))
    upper = grid + (upper_depth - below_upper).movedim(1, -1) * lips.down
    lower = grid + (distance - ajar - below_lower).movedim(1, -1) * lips.down
    pixels = (distance - ajar) / _steepness(distance).clamp(min=1e-5)  # down from the lower lip's edge
    line = torch.exp(-((pixels / (_LINE_WIDTH * unit * size / 2)) ** 2)) * inside.clamp(0, 1)
    near = (2 - distance.abs() / (_NEAR * unit)).clamp(0, 1) * (inside + 1).clamp(0, 1)
    return Seam(upper, lower, (pixels + 0.5).clamp(0, 1), line, near * (shut / _MIXED_IN).clamp(max=1))


def close_lips(frames: Tensor, picture: Tensor, lips: InnerLips, flow: Tensor, shut: Tensor) -> Tensor:
    """Let the lips meet.

    Args:
        frames:  [F, 3, S, S]
        picture: [1, 3, S, S], the portrait
        flow:    [F, h, w, 2], absolute sampling grid
        shut:    [F], how far the lips are to meet, 0..1

    Returns [F, 3, S, S]; frames in which nothing is shut are the same.
    """
    if shut.device.type == "cpu" and not (shut > 0).any():  # elsewhere, to ask takes longer than to compute
        return frames
    seam = seam_of(lips, flow, shut, picture.shape[-1])
    drawn = torch.lerp(warp(picture, seam.upper), warp(picture, seam.lower), seam.share)
    return torch.lerp(frames, drawn * (1 - _LINE_DEPTH * seam.line), seam.weight)


def with_meeting_lips(
    grid: Tensor, visible: Tensor, lips: InnerLips, flow: Tensor, shut: Tensor
) -> tuple[Tensor, Tensor]:
    """Where frames with closed lips take the portrait's finer detail from: grid [F, S, S, 2] and visibility
    [F, 1, S, S] without and with them. Of two places for one pixel the one that is seen more is kept."""
    seam = seam_of(lips, flow, shut, grid.shape[1])
    closed, side = seam.weight > 0.5, seam.share > 0.5
    place = torch.where(side.movedim(1, -1), seam.lower, seam.upper)
    grid = torch.where(closed.movedim(1, -1), place, grid)
    return grid, torch.where(closed, seam.weight * (1 - seam.line), visible * (1 - seam.weight))


def _looked_up(lips: InnerLips, grid: Tensor) -> Tensor:
    """The maps at every place of a grid [F, h, w, 2], [F, 3, h, w]."""
    edge = 1 - 1 / lips.maps.shape[-1]  # beyond it as on it; not every device has padding that does so
    maps = lips.maps.expand(len(grid), -1, -1, -1)
    return F.grid_sample(maps, grid.clamp(-edge, edge), align_corners=False)


def _from_the_line(maps: Tensor) -> Tensor:
    """How far below the line it would be if the mouth were shut, [F, 1, h, w]; above it: negative."""
    below_upper, below_lower, _ = maps.split(1, dim=1)
    half = (below_upper - below_lower) / 2
    between = torch.minimum(torch.maximum((below_upper + below_lower) / 2, -half), half)
    return below_upper.clamp(max=0) + below_lower.clamp(min=0) + _TELLS_SIDES * between


def _smoothed(distance: Tensor) -> Tensor:
    offsets = torch.arange(-3, 4, device=distance.device, dtype=distance.dtype)
    bell = torch.exp(-(offsets**2) / (2 * _SMOOTHED_CELLS**2))
    bell = bell / bell.sum()
    padded = F.pad(distance, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))


def _steepness(distance: Tensor) -> Tensor:
    """Change per pixel, [F, 1, S, S]."""
    padded = F.pad(distance, (1, 1, 1, 1), mode="replicate")
    x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return (x**2 + y**2).sqrt()
