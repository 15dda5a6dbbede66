"""Faces that somebody else has found: boxes and landmarks from other nodes, a box typed by hand, a mask.

The structures are those of ComfyUI's own face nodes: a box is {"x", "y", "width", "height"} in pixels; boxes
come alone, as a list, or as a list for each picture; landmarks as {"frames": faces of each picture,
"image_size": (height, width)}.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .landmarker import POINTS, SKIN_POINTS, Face, FaceLandmarker

log = logging.getLogger(__name__)

_EYES = (33, 263)


def parse_box(text: str) -> Tensor | None:
    """ "x, y, width, height" → x_min, y_min, x_max, y_max [4]; None for an empty text or only zeros.

    Raises ValueError for anything else.
    """
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = [math.nan]
    if not any(numbers):
        return None
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        raise ValueError(
            f"box: {text.strip()[:60]!r} is no box. Write x, y, width, height in pixels, such as 120, 40, 200, 240; "
            "empty finds the face by itself"
        )
    return _corners(*numbers, name="box")


def _corners(x: float, y: float, width: float, height: float, name: str) -> Tensor:
    if not (width > 0 and height > 0):
        raise ValueError(
            f"{name}: {width:g}×{height:g} pixels hold nothing; width and height must be above 0"
        )
    return torch.tensor([x, y, x + width, y + height])


def boxes_for(boxes: Any, pictures: int) -> list[list[Tensor]]:
    """BOUNDING_BOX → for each of `pictures` its boxes, as x_min, y_min, x_max, y_max [4].

    One box, or one list of boxes, counts for every picture. Raises ValueError for another structure.
    """
    groups = boxes if isinstance(boxes, Sequence) and not isinstance(boxes, str) else [boxes]
    if groups and all(isinstance(box, Mapping) for box in groups):
        groups = [groups]
    if len(groups) not in (1, pictures):
        raise ValueError(
            f"bounding_box: boxes of {len(groups)} pictures arrived for {pictures} pictures; "
            "find them in the same pictures"
        )
    try:
        found = [
            [
                _corners(*(float(box[key]) for key in ("x", "y", "width", "height")), "bounding_box")
                for box in group
            ]
            for group in groups
        ]
    except (TypeError, KeyError) as error:
        raise ValueError(
            "bounding_box: expected boxes with x, y, width and height, as ComfyUI's face and object detection give"
        ) from error
    return [found[index % len(found)] for index in range(pictures)]


def faces_in_boxes(
    landmarker: FaceLandmarker, picture: Tensor, boxes: Sequence[Tensor], threshold: float, name: str
) -> list[Face]:
    """The face in each box of a picture [H, W, 3]; boxes without one are left out, and said.

    Raises ValueError, naming the input `name`, when no box holds a face, or a box is outside the picture.
    """
    if not boxes:
        raise ValueError(f"{name}: there is no box for this picture; nothing was found in it")
    try:
        faces = [landmarker.at_box(picture, box) for box in boxes]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    seen = [face for face in faces if face.presence >= threshold]
    if not seen:
        surest = max(face.presence for face in faces)
        raise ValueError(
            f"{name}: no face is seen in it (certainty {surest:.0%}, threshold {threshold:.0%}). Put it round "
            "the face from brows to chin, or lower the threshold"
        )
    if len(seen) < len(faces):
        log.info("DAWN: %d of %d boxes hold no face", len(faces) - len(seen), len(faces))
    return seen


def faces_from_landmarks(landmarks: Any, pictures: int, height: int, width: int) -> list[list[Face]]:
    """FACE_LANDMARKS → for each of `pictures` its faces.

    Raises ValueError for another structure, or for landmarks of other pictures.
    """
    try:
        frames, size = landmarks["frames"], tuple(landmarks["image_size"])
        if size != (height, width):
            raise ValueError(
                f"face_landmarks: they are of a picture of {size[1]}×{size[0]}, this one is {width}×{height}. "
                "Connect the same picture to both nodes"
            )
        if len(frames) not in (1, pictures):
            raise ValueError(
                f"face_landmarks: those of {len(frames)} pictures arrived for {pictures} pictures; "
                "find them in the same pictures"
            )
        faces = [[_face(entry) for entry in frame] for frame in frames]
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(
            "face_landmarks: expected what ComfyUI's Detect Face Landmarks (MediaPipe) gives"
        ) from error
    return [faces[index % len(faces)] for index in range(pictures)]


def _face(entry: Mapping[str, Any]) -> Face:
    flat = torch.as_tensor(entry["landmarks_xy"]).float()
    deep = torch.as_tensor(entry["landmarks_3d"]).float()
    if flat.shape != (POINTS, 2) or deep.shape != (POINTS, 3):
        raise ValueError(
            f"face_landmarks: expected {POINTS} points, got {list(flat.shape)} and {list(deep.shape)}"
        )
    # Depth comes in pixels of the network's own view of the face; the eyes say how large those are.
    eyes = list(_EYES)
    zoom = (flat[eyes[0]] - flat[eyes[1]]).norm() / (deep[eyes[0], :2] - deep[eyes[1], :2]).norm()
    points = torch.cat([flat, deep[:, 2:] * zoom], dim=1)
    presence = float(torch.sigmoid(torch.as_tensor(float(entry["presence"]))))
    return Face(points, float(entry["score"]), presence)


def inside_mask(faces: Sequence[Face], mask: Tensor) -> list[Face]:
    """The faces that lie for the most part in the white of a mask [H, W].

    Raises ValueError when there are faces and none does.
    """
    height, width = mask.shape
    inside = []
    for face in faces:
        columns, rows = face.points[:SKIN_POINTS, :2].cpu().round().long().unbind(-1)
        values = mask.cpu()[rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
        if float((values > 0.5).float().mean()) > 0.5:
            inside.append(face)
    if faces and not inside:
        raise ValueError(
            f"mask: of {len(faces)} faces in the picture none lies in the white part of the mask. Paint over the "
            "face, or invert the mask"
        )
    return inside
