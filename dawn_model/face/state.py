"""From face landmarks to what conditions DAWN: head pose, eye openness and box.

DAWN was trained with the pose of 3DDFA_V2, measured in a 120-pixel crop round the face. The convention
(docs/model.md, "Face") is kept; the pose itself comes from fitting the canonical face of MediaPipe to
the landmarks, so nothing but the landmarker is needed.

As one sees the picture: a positive yaw moves the nose to the left, a positive pitch moves it down, a
positive roll turns the head counter-clockwise.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..structures import FaceState

CROP = 120
"""Side of the 3DDFA crop round the face, in its own pixels."""

# fmt: off
LANDMARKS_68 = (
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
# fmt: on
"""The mesh points that stand for the 68-point (iBUG) numbering."""

# The canonical face in the frame of 3DDFA's mean face, and the crop that 3DDFA would see. Calibrated once on
# 86 pictures against 3DDFA: median errors of 1.4° yaw, 1.5° pitch, 0.7° roll, 1.7e-5 scale, 1.8 and 2.4 crop
# pixels. They belong to the fit in `head_pose`.
_FRAME_ROTATION = (0.0343, -0.0018, 0.0010)  # rotation vector, radians
_MICROMETRES_PER_CM = math.exp(9.1548)
_FRAME_OFFSET = (-985.0, 1270.0, 68085.0)  # micrometres
_CROP_SIDE = 1.6414  # in mean sides of the mesh's box
_CROP_SHIFT = (-0.0054, 0.0736)  # of the centre, in mean sides of the mesh's box
_GIMBAL = 0.998


@dataclass(frozen=True)
class CanonicalFace:
    """vertices [468, 3] in cm, x right, y up, z to the viewer; triangles [898, 3];

    fit_indices and fit_weights [33]: the points that MediaPipe fits a head by, and their weights.
    """

    vertices: Tensor
    triangles: Tensor
    fit_indices: Tensor
    fit_weights: Tensor


@functools.cache
def canonical_face() -> CanonicalFace:
    """MediaPipe's canonical face (Apache-2.0), read on first use."""
    return CanonicalFace(**load_file(Path(__file__).parents[1] / "assets" / "canonical_face.safetensors"))


def angles_from_rotation(rotation: Tensor) -> Tensor:
    """[..., 3, 3] → yaw, pitch, roll [..., 3] in degrees (docs/model.md, "Face").

    Looking sideways (|yaw| above about 86°) yaw counts as ±90° and roll as 0.
    """
    sine = rotation[..., 2, 0]
    yaw = torch.asin(sine.clamp(-1, 1))
    cosine = torch.cos(yaw)
    pitch = torch.atan2(rotation[..., 2, 1] / cosine, rotation[..., 2, 2] / cosine)
    roll = torch.atan2(rotation[..., 1, 0] / cosine, rotation[..., 0, 0] / cosine)
    sideways = sine.abs() > _GIMBAL
    sign = torch.sign(sine)
    pitch_sideways = torch.atan2(-sign * rotation[..., 0, 1], -sign * rotation[..., 0, 2])
    angles = torch.stack(
        [
            torch.where(sideways, sign * math.pi / 2, yaw),
            torch.where(sideways, pitch_sideways, pitch),
            torch.where(sideways, 0.0, roll),
        ],
        dim=-1,
    )
    return torch.rad2deg(angles)


def rotation_from_angles(angles: Tensor) -> Tensor:
    """Yaw, pitch, roll [..., 3] in degrees → [..., 3, 3]; inverse of `angles_from_rotation`."""
    (sy, sp, sr), (cy, cp, cr) = (f(torch.deg2rad(angles)).unbind(-1) for f in (torch.sin, torch.cos))
    rows = (
        torch.stack([cy * cr, -cp * sr - sy * sp * cr, sp * sr - sy * cp * cr], dim=-1),
        torch.stack([cy * sr, cp * cr - sy * sp * sr, -sp * cr - sy * cp * sr], dim=-1),
        torch.stack([sy, cy * sp, cy * cp], dim=-1),
    )
    return torch.stack(rows, dim=-2)


def eye_openness(landmarks: Tensor) -> Tensor:
    """68 landmarks [..., 68, 3] → left and right eye-aspect ratio [..., 2] (docs/model.md, "Face")."""

    def distance(a: int, b: int) -> Tensor:
        return (landmarks[..., a, :] - landmarks[..., b, :]).norm(dim=-1)

    left = distance(43, 47) / distance(45, 42).clamp(min=1e-6)
    right = distance(37, 41) / distance(39, 36).clamp(min=1e-6)
    return torch.stack([left, right], dim=-1)


def landmark_box(landmarks: Tensor) -> Tensor:
    """68 landmarks [..., 68, 2 or 3] → x_min, y_min, x_max, y_max [..., 4].

    Whole pixels, truncated toward zero, not clipped to the picture (docs/model.md, "Face").
    """
    flat = landmarks[..., :2].trunc()
    return torch.cat([flat.amin(-2), flat.amax(-2)], dim=-1)


def _fit_similarity(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation, translation with scale·R·source + translation closest to target, weighted.

    source, target [N, 3]; weights [N]. Source: Umeyama, IEEE TPAMI 13(4), 1991.
    """
    weights = weights / weights.sum()
    source_mean, target_mean = weights @ source, weights @ target
    a, b = source - source_mean, target - target_mean
    u, singular, vt = torch.linalg.svd((b * weights[:, None]).mT @ a)
    flip = torch.ones_like(singular)
    flip[-1] = torch.sign(torch.linalg.det(u @ vt))  # a rotation, never a reflection
    rotation = u * flip @ vt
    scale = (singular * flip).sum() / (weights @ a.square().sum(-1))
    return scale, rotation, target_mean - scale * rotation @ source_mean


def _rotation(vector: tuple[float, float, float]) -> Tensor:
    """Rotation vector in radians → [3, 3]."""
    x, y, z = vector
    return torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))


def _face_crop(points: Tensor) -> tuple[Tensor, Tensor]:
    """Top-left corner [2] and side of the square that 3DDFA would look at."""
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    mean_side = (high - low).mean()
    side = _CROP_SIDE * mean_side
    return (low + high) / 2 + mean_side * points.new_tensor(_CROP_SHIFT) - side / 2, side


def head_pose(points: Tensor) -> Tensor:
    """Mesh points [478, 3] or [468, 3] in pixels → pose [6] as in `FaceState`.

    A similarity fit of the canonical face, by the 33 points and weights that MediaPipe uses for its own
    head transform. With the calibrated constants, on 24 turned and mirrored portraits, the median difference
    from 3DDFA is 0.5° yaw, 1.6° pitch, 0.6° roll, 8e-6 scale, 0.7 and 1.8 crop pixels. (An unweighted fit to
    all points above the lip is 4.4° off in pitch; an iterated weak-perspective fit to all points gains
    0.4° of pitch.) A jaw dropped by 1.5 cm reads as 2° less pitch.
    """
    face = canonical_face()
    points = points[: len(face.vertices)].cpu().double()  # in this order: not every device has float64
    indices = face.fit_indices.long()
    upright = points * points.new_tensor([1, -1, -1])  # y up, z to the viewer, as 3DDFA has it
    scale, rotation, translation = _fit_similarity(
        face.vertices.double()[indices], upright[indices], face.fit_weights.double()
    )
    corner, side = _face_crop(points)
    zoom = CROP / side
    rotation = rotation @ _rotation(_FRAME_ROTATION).mT
    scale = scale * zoom / _MICROMETRES_PER_CM
    origin_x = (translation[0] - corner[0]) * zoom
    origin_y = CROP - (-translation[1] - corner[1]) * zoom
    offset = scale * (rotation @ points.new_tensor(_FRAME_OFFSET))[:2]
    centre = torch.stack([origin_x, origin_y]) - offset
    return torch.cat([angles_from_rotation(rotation), scale[None], centre]).float()


def face_state(points: Tensor, height: int, width: int) -> FaceState:
    """Mesh points [478, 3] in pixels of a `height`×`width` picture → FaceState on the CPU, float32.

    For the state in a crop, give the points as `Crop.to_crop` returns them: angles, scale, translation
    and eye openness are the same, only the box changes.
    """
    points = points.float().cpu()
    landmarks = points[list(LANDMARKS_68)]
    return FaceState(
        head_pose(points), eye_openness(landmarks), landmark_box(landmarks), height, width, points
    )
