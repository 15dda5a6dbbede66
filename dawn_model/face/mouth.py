"""How far a mouth is open and how wide it is, from the face mesh."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# fmt: off
UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
# fmt: on
"""The inner lips from corner to corner, the picture's left first."""
_OPEN = 0.02
"""Gap in iris distances below which there is nothing between the lips."""
_INTO_THE_LIP = 2.0
"""In pixels: the edge of a lip is mixed with what lies behind it."""
_INNER_LIPS, _CORNERS, _IRISES = (13, 14), (61, 291), (468, 473)


def mouth_opening(points: Tensor) -> Tensor:
    """Mesh points [..., 478, 3] → distance of the inner lips and of the corners of the mouth, [..., 2].

    In distances between the irises, about 6.3 cm. A turn of the head shortens the picture of both the mouth's width
    and the irises' distance, but not that of the gap, which is therefore compared with the distance in depth as well.
    """
    upper, lower = (points[..., i, :2] for i in _INNER_LIPS)
    left, right = (points[..., i, :2] for i in _CORNERS)
    first, second = (points[..., i, :] for i in _IRISES)
    gap = (upper - lower).norm(dim=-1) / (first - second).norm(dim=-1).clamp(min=1e-3)
    width = (left - right).norm(dim=-1) / (first - second)[..., :2].norm(dim=-1).clamp(min=1e-3)
    return torch.stack([gap, width], dim=-1)


def lips_together(points: Tensor, size: int) -> Tensor | None:
    """For every pixel between the lips of a square picture, the way to the nearer lip.

    Motion that shuts an open mouth leads from one lip to the other, and what is interpolated between them shows the
    teeth, a cell of the motion grid high. Whoever looks up such a pixel goes on to the lip instead.

    Args:
        points: mesh points [478, 2 or 3] in pixels of the picture
        size:   its side

    Returns [1, 2, size, size], x and y in halves of the picture, zero outside the mouth; None for lips that meet.
    """
    if points.shape[-1] == 3 and float(mouth_opening(points)[0]) < _OPEN:
        return None
    at = points[:, :2].double().cpu().numpy()
    left, right = at[UPPER_LIP[0]], at[UPPER_LIP[-1]]
    along = (right - left) / max(1e-6, np.linalg.norm(right - left))
    down = np.array([-along[1], along[0]])
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="xy"), axis=-1) - left
    across, depth = pixels @ along, pixels @ down
    upper, lower = (
        np.interp(across, (at[list(lip)] - left) @ along, (at[list(lip)] - left) @ down, np.nan, np.nan)
        for lip in (UPPER_LIP, LOWER_LIP)
    )
    upper, lower = upper - _INTO_THE_LIP, lower + _INTO_THE_LIP
    with np.errstate(invalid="ignore"):
        inside = (depth > upper) & (depth < lower)
        way = np.where(depth < (upper + lower) / 2, upper, lower) - depth
    way = np.where(inside, way, 0.0)[..., None] * down * (2 / size)
    return torch.from_numpy(way).float().movedim(-1, 0)[None]
