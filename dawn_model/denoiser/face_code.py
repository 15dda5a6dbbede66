"""What the embedded model's denoiser knows about a portrait: the picture, and where on the face each cell lies.

The authors' model is given the face's box, one bit per pixel. A small model that learned from renders alone
needs more to find its way on a photograph, and the landmarker knows more: the whole mesh. Its points become
maps that look alike for a render and a photograph.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..face.mouth import LOWER_LIP, UPPER_LIP, mouth_opening
from ..face.state import canonical_face
from ..structures import FaceState

PATCH = 2
"""Picture pixels along each side of a motion cell."""

_RIGHT_IRIS, _LEFT_IRIS, _NOSE = 468, 473, 1
_MOUTH_CORNERS = (61, 291)
_EYE_CORNERS = ((33, 133), (362, 263))
# fmt: off
_UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
_LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
# fmt: on
"""The lids, from corner to corner, the picture's left first."""

_BLUR = 0.08
"""In iris distances: how far a mesh point has weight."""
_REACH = 0.5
"""In iris distances: how fast the mark of the face fades outside of it."""
_COLUMN_BLUR = 0.15
"""In half widths of mouth or eye: how far a point of a lip or lid has weight along it."""

POSE_UNIT, BLINK_UNIT, MOUTH_UNIT = 30.0, 0.3, 0.3
MAP_CHANNELS = 3 + 1 + 1 + 2 + 3 * 4
"""Canonical position, depth, face or not, head coordinates, and four of mouth and eyes each."""
CHANNELS = 3 * PATCH**2 + MAP_CHANNELS + 3 + 2 + 2
"""Colours, the maps, head angles, how far the eyes are open, gap and width of the mouth."""

GAP_CHANNEL = CHANNELS - 2
"""Of how far the mouth is open."""

_MAPS = slice(3 * PATCH**2, 3 * PATCH**2 + MAP_CHANNELS)
_FACE = slice(_MAPS.start + 4, _MAPS.start + 5)
_FREQUENCY = 3.0
FOURIER_CHANNELS = CHANNELS + 2 * MAP_CHANNELS


def face_code(picture: Tensor, face: FaceState, cells: int) -> Tensor:
    """RGB [1, 3, S, S] in 0..1 and the face in it → [1, CHANNELS, cells, cells].

    Raises:
        ValueError: when the face has no mesh points.
    """
    if face.points is None:
        raise ValueError("this model needs the face's mesh points, and the portrait has none")
    points = face.points.to(picture)
    maps = mesh_maps(points, cells, picture.shape[-1])
    state = [face.pose[:3].to(picture), face.blink.to(picture), mouth_opening(points)]
    return assemble(picture, maps[None], *(part[None] for part in state))


def assemble(picture: Tensor, maps: Tensor, angles: Tensor, blink: Tensor, mouth: Tensor) -> Tensor:
    """RGB [B, 3, S, S], maps of the mesh [B, MAP_CHANNELS, cells, cells], and of the portrait head angles [B, 3] in
    degrees, blink [B, 2] and mouth [B, 2] → [B, CHANNELS, cells, cells]. S is a multiple of PATCH · cells."""
    cells = maps.shape[-1]
    small = F.avg_pool2d(picture, picture.shape[-1] // (PATCH * cells))
    colours = F.pixel_unshuffle(small, PATCH) * 2 - 1
    state = torch.cat([angles / POSE_UNIT, blink / BLINK_UNIT - 1, mouth / MOUTH_UNIT], dim=1)
    return torch.cat([colours, maps, state[:, :, None, None].expand(-1, -1, cells, cells)], dim=1)


def fourier_features(code: Tensor) -> Tensor:
    """A code [B, CHANNELS, …] and sine and cosine of its maps, on the face alone → [B, FOURIER_CHANNELS, …]."""
    angles, face = code[:, _MAPS] * (math.pi * _FREQUENCY), code[:, _FACE]
    return torch.cat([code, angles.sin() * face, angles.cos() * face], dim=1)


def mesh_maps(points: Tensor, cells: int, side: int) -> Tensor:
    """Mesh points [478, 3] in pixels of a square picture of `side` pixels → [MAP_CHANNELS, cells, cells]."""
    ticks = (torch.arange(cells).to(points) + 0.5) * (side / cells) - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    place = torch.stack([x, y], dim=-1)  # [cells, cells, 2]
    unit = (points[_RIGHT_IRIS, :2] - points[_LEFT_IRIS, :2]).norm().clamp(min=1e-3)

    vertices = canonical_face().vertices.to(points)
    skin = points[: len(vertices)]
    distance = torch.cdist(place.flatten(0, 1)[None], skin[None, :, :2])[0] / unit  # [cells², 468]
    weights = (-0.5 * (distance / _BLUR) ** 2).softmax(dim=1)
    depth = (skin[:, 2:] - skin[:, 2].mean()) / unit
    known = weights @ torch.cat([vertices / 10, depth], dim=1)  # canonical position in decimetres, depth
    face = torch.exp(-((distance.amin(1, keepdim=True) / _REACH) ** 2))
    maps = [torch.cat([known * face, face], dim=1).T.unflatten(1, (cells, cells))]

    head = _axes(points, _EYE_CORNERS[0][0], _EYE_CORNERS[1][1], points[_NOSE, :2])
    maps.append(_limited(_in_axes(place, *head)).movedim(-1, 0))
    for corners, upper, lower in (
        (_MOUTH_CORNERS, UPPER_LIP, LOWER_LIP),
        (_EYE_CORNERS[0], _UPPER_LIDS[0], _LOWER_LIDS[0]),
        (_EYE_CORNERS[1], _UPPER_LIDS[1], _LOWER_LIDS[1]),
    ):
        axes = _axes(points, *corners)
        own = _in_axes(place, *axes)
        edges = [
            own[..., 1] - _height_along(own[..., 0], _in_axes(points[list(e), :2], *axes))
            for e in (upper, lower)
        ]
        maps.append(_limited(torch.stack([own[..., 0], own[..., 1], *(3 * edge for edge in edges)])))
    return torch.cat(maps)


def _axes(points: Tensor, left: int, right: int, origin: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Origin [2] and the vector [2] of unit length along x: half the way from `left` to `right`."""
    a, b = points[left, :2], points[right, :2]
    return (a + b) / 2 if origin is None else origin, (b - a) / 2


def _in_axes(place: Tensor, origin: Tensor, along: Tensor) -> Tensor:
    """[..., 2] pixels → [..., 2] in the turned and scaled axes."""
    offset = place - origin
    square = along.square().sum().clamp(min=1e-6)
    x = (offset * along).sum(-1) / square
    y = (offset[..., 1] * along[0] - offset[..., 0] * along[1]) / square
    return torch.stack([x, y], dim=-1)


def _height_along(x: Tensor, line: Tensor) -> Tensor:
    """The y of a line of points [P, 2] at every x, smoothly."""
    weights = (-0.5 * ((x[..., None] - line[:, 0]) / _COLUMN_BLUR) ** 2).softmax(dim=-1)
    return weights @ line[:, 1]


def _limited(coordinates: Tensor) -> Tensor:
    """Linear near the origin, bounded far away."""
    return torch.tanh(coordinates / 2)
