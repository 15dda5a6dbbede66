"""How far a mouth is open and how wide it is, from the face mesh."""

from __future__ import annotations

import torch
from torch import Tensor

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
