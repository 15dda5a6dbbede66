"""How far a mouth is open and how wide it is, from the face mesh."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..structures import InnerLips

# fmt: off
UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
# fmt: on
"""The inner lips from corner to corner, the picture's left first."""
_CORNER = 0.08
"""In iris distances: how far beyond the corners of the mouth teeth may still show."""
_OPEN = 0.012
"""Gap in iris distances below which there is nothing between the lips. Shut ones on photographs read up to .009."""
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


def inner_lips(points: Tensor, size: int) -> InnerLips | None:
    """The inner lips of mesh points [478, 3] in pixels of a square picture of that size; None for lips that meet."""
    if float(mouth_opening(points)[0]) < _OPEN:
        return None
    at = points[:, :2].double().cpu().numpy()
    left, right = at[UPPER_LIP[0]], at[UPPER_LIP[-1]]
    width = max(1e-6, np.linalg.norm(right - left))
    along = (right - left) / width
    down = np.array([-along[1], along[0]])
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="xy"), axis=-1) - left
    across, depth = pixels @ along, pixels @ down
    edges = [
        np.interp(across, (at[list(lip)] - left) @ along, (at[list(lip)] - left) @ down)
        for lip in (UPPER_LIP, LOWER_LIP)
    ]
    unit = max(1e-3, np.linalg.norm(at[_IRISES[0]] - at[_IRISES[1]]))
    inside = np.minimum(across, width - across) / (_CORNER * unit)
    deeper = _INTO_THE_LIP * np.clip(inside + 1, 0, 1)
    upper, lower = np.minimum(*edges) - deeper, np.maximum(*edges) + deeper
    maps = torch.from_numpy(np.stack([(depth - upper) * 2 / size, (depth - lower) * 2 / size, inside])[None])
    return InnerLips(maps.float(), torch.from_numpy(down).float(), float(unit * 2 / size))
