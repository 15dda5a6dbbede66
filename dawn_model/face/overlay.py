"""Draws what was measured on a picture: box, mesh, the head's axes and the numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..drawing.shapes import dot, line, rectangle
from ..structures import FaceState
from .crop import Crop, resize
from .landmarker import SKIN_POINTS, Face
from .square import Region
from .state import face_state, rotation_from_angles

LONGEST_SIDE = 2048

_BOX = (255, 200, 40)
_CROP = (255, 255, 255)
_OTHER = (150, 150, 150)
_SKIN = (90, 220, 255)
_IRIS = (255, 120, 220)
_AXES = ((235, 70, 60), (80, 210, 80), (70, 130, 255))
"""x red (to the subject's left), y green (up), z blue (out of the face)."""

_NOSE_ROOT = 168


def draw_face_overlay(
    picture: Tensor,
    face: Face,
    state: FaceState,
    crop: Crop | None = None,
    others: Sequence[Face] = (),
) -> Tensor:
    """[H, W, 3] in 0..1 → a copy with the measurements drawn on it, made smaller where a side is
    longer than LONGEST_SIDE: a picture to look at needs no more, and no more memory.

    Args:
        face, state: in pixels of this picture.
        crop: outlined when given.
        others: faces that were found but not chosen, as grey boxes.
    """
    pixels = 0.0 if crop is None else crop.region.side
    longest = max(picture.shape[:2])
    if longest > LONGEST_SIDE:
        scale = LONGEST_SIDE / longest
        height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
        picture = resize(picture, height, width)
        face, others = _smaller(face, scale), [_smaller(other, scale) for other in others]
        state = face_state(face.points, height, width)
        if crop is not None:
            region = crop.region
            x, y = ((value + 0.5) * scale - 0.5 for value in (region.x, region.y))
            crop = Crop(Region(x, y, region.side * scale, region.angle), crop.size, height, width)
    canvas = np.ascontiguousarray((picture.detach().float().cpu().clamp(0, 1) * 255).round().byte().numpy())
    short = min(canvas.shape[:2])
    thickness = max(1, round(short / 400))
    for other in others:
        rectangle(canvas, *other.box.view(2, 2).tolist(), _OTHER, thickness)
    if crop is not None:
        _outline(canvas, crop, thickness)
    rectangle(canvas, *state.box.view(2, 2).tolist(), _BOX, thickness)
    _mesh(canvas, face)
    _axes(canvas, face, state, 2 * thickness)
    keep = face.box if crop is None else torch.cat([crop.corners().amin(0), crop.corners().amax(0)])
    canvas = _numbers(
        canvas, face, state, keep.tolist(), None if crop is None else (pixels, crop.region.angle)
    )
    return torch.from_numpy(canvas).float() / 255


def _smaller(face: Face, scale: float) -> Face:
    """The same face in a picture of another size; depth scales as well."""
    points = face.points * scale
    points[:, :2] += 0.5 * scale - 0.5
    return dataclasses.replace(face, points=points)


def _outline(canvas: np.ndarray, crop: Crop, thickness: int) -> None:
    """The square, with a thick upper side that shows which way it is turned."""
    corners = crop.corners().tolist()
    line(canvas, [*corners, corners[0]], _CROP, thickness)
    line(canvas, corners[:2], _CROP, 3 * thickness)


def _mesh(canvas: np.ndarray, face: Face) -> None:
    points = face.points[:, :2].cpu().numpy()
    side = float((face.box[2:] - face.box[:2]).max())
    for index, point in enumerate(points.tolist()):
        dot(canvas, point, max(0.5, side / 180), _SKIN if index < SKIN_POINTS else _IRIS)


def _axes(canvas: np.ndarray, face: Face, state: FaceState, thickness: int) -> None:
    origin = face.points[_NOSE_ROOT, :2].cpu().numpy()
    length = 0.45 * float((face.box[2:] - face.box[:2]).max())
    rotation = rotation_from_angles(state.pose[:3].double()).numpy()
    tips = origin + length * rotation[:2].T * [1, -1]  # the pose has y up, the picture y down
    nearness = rotation[2]
    for axis in np.argsort(nearness).tolist():
        line(canvas, [origin.tolist(), tips[axis].tolist()], _AXES[axis], thickness)


def _numbers(
    canvas: np.ndarray,
    face: Face,
    state: FaceState,
    keep: Sequence[float],
    crop: tuple[float, float] | None,
) -> np.ndarray:
    """A panel of text in the corner that hides least of the box `keep`; crop: side in pixels and angle."""
    yaw, pitch, roll = state.pose[:3].tolist()
    left, right = state.blink.tolist()
    lines = [
        f"yaw {yaw:+.1f}°",
        f"pitch {pitch:+.1f}°",
        f"roll {roll:+.1f}°",
        f"eyes L {left:.2f}  R {right:.2f}",
        f"face {face.score:.0%}",
    ]
    if crop is not None:
        side, angle = crop
        turned = f" turned {math.degrees(angle):+.0f}°" if angle else ""
        lines.append(f"square {side:.0f} px{turned}")
    height, width = canvas.shape[:2]
    font = ImageFont.load_default(size=max(11, min(height, width) // 28))
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image, "RGBA")
    text = "\n".join(lines)
    _, _, text_width, text_height = draw.multiline_textbbox((0, 0), text, font=font)
    pad = font.size // 2
    panel = (text_width + 2 * pad, text_height + 2 * pad)
    if panel[0] > width or panel[1] > height:
        return canvas  # a thumbnail: the numbers would hide the face
    x, y = _free_corner(panel, (width, height), keep)
    draw.rectangle((x, y, x + panel[0], y + panel[1]), fill=(0, 0, 0, 170))
    draw.multiline_text((x + pad, y + pad), text, fill=(255, 255, 255), font=font)
    return np.array(image)


def _free_corner(panel: tuple, size: tuple, box: Sequence[float]) -> tuple[float, float]:
    """The corner of the picture where a panel hides least of the box; the top left if it does not matter."""

    def hidden(corner: tuple[float, float]) -> float:
        sides = [
            max(0.0, min(corner[axis] + panel[axis], box[axis + 2]) - max(corner[axis], box[axis]))
            for axis in (0, 1)
        ]
        return sides[0] * sides[1]

    right, bottom = (max(0, size[axis] - panel[axis] - 1) for axis in (0, 1))
    return min([(0, 0), (right, 0), (0, bottom), (right, bottom)], key=hidden)
