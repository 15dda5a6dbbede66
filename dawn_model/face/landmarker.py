"""Face landmarks: every face of a picture as 478 points.

Source: MediaPipe face landmarker, https://github.com/google-ai-edge/mediapipe, Apache-2.0; the weights
were converted from its `.task` file and keep its licence (see NOTICE).
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .detector import FaceDetector, area, iou, overlap
from .square import Region, sample
from .tflite_graph import TfliteGraph

ASSETS = Path(__file__).parents[1] / "assets"
POINTS = 478
SKIN_POINTS = 468
"""The first 468 points lie on the skin; the last ten are the irises."""

_INPUT = 256
_RIGHT_EYE, _LEFT_EYE = 33, 263
_SAME_MESH = 0.4
_CANDIDATES = 32
"""Detections looked at; a bound on the time that a picture full of mistakes can take."""
_RIVAL = 0.67
"""Share of the best score from which a detection is a rival: turned and faded portraits have .85 to .94, spots .55."""
_SURE = 0.99
"""Presence, in two looks running, from which a head stands another way up than the detector says. Turned portraits had
1.00, also grey and faded; noise .96 and less, but once."""

ORDERS = ("size", "left-to-right", "confidence")


@dataclass(frozen=True)
class Face:
    """points [478, 3]: x right, y down and z away from the viewer, in pixels of the picture.

    score: how sure the detector is; presence: how sure the mesh network is that it sees a face; 0..1.
    """

    points: Tensor
    score: float
    presence: float

    @property
    def box(self) -> Tensor:
        """[4]: x_min, y_min, x_max, y_max of the skin, in pixels."""
        skin = self.points[:SKIN_POINTS, :2]
        return torch.cat([skin.amin(0), skin.amax(0)])


def _region_of_mesh(points: Tensor) -> Region:
    """Where the mesh network should look for a face whose points are known already."""
    across = points[_LEFT_EYE, :2] - points[_RIGHT_EYE, :2]
    angle = math.atan2(float(across[1]), float(across[0]))
    upright = Region(0.0, 0.0, 1.0, angle)
    own = upright.from_picture(points[:SKIN_POINTS, :2])
    low, high = own.amin(0), own.amax(0)
    x, y = upright.to_picture((low + high) / 2).tolist()
    return Region(x, y, float((high - low).max()) * 1.5, angle)


class FaceLandmarker(nn.Module):
    """Detector and mesh network together. [H, W, 3] pictures in 0..1 → faces."""

    def __init__(self, detector: TfliteGraph, mesh: TfliteGraph):
        super().__init__()
        self.detector = FaceDetector(detector)
        self.mesh = mesh

    @classmethod
    def load(cls, path: Path = ASSETS / "face_landmarker.safetensors") -> FaceLandmarker:
        """Raises ValueError when `path` is no converted face landmarker."""
        constants: dict[str, dict[int, Tensor]] = {"detector": {}, "mesh": {}}
        try:
            with safe_open(path, "pt") as file:
                graphs = json.loads((file.metadata() or {})["graphs"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    network, number = key.rsplit(".", 1)
                    constants[network][int(number)] = file.get_tensor(key)
            return cls(*(TfliteGraph(graphs[name], constants[name]) for name in ("detector", "mesh")))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} is not a converted face landmarker: {error}") from error

    @torch.no_grad()
    def forward(
        self, picture: Tensor, threshold: float = 0.5, presence: float = 0.5, small_faces: bool = True
    ) -> list[Face]:
        """All faces, the largest first.

        Every face is looked at again where its own mesh says it is: that halves the
        scatter of the points when the picture is turned, moved or scaled (0.36 % to 0.18 % of the
        distance between the eyes).

        Args:
            picture: [H, W, 3] in 0..1, any size.
            threshold: least score of the detector.
            presence: least certainty of the mesh network that it looks at a face.
            small_faces: search for them too, where there is no larger one; that takes many times longer.

        Raises:
            ValueError: the picture has not three colours.
        """
        _check_picture(picture)
        faces: list[Face] = []
        for fine in (False, True)[
            : 1 + small_faces
        ]:  # small faces are searched for only where there is no larger one
            for detection in self.detector(picture, threshold, fine)[:_CANDIDATES]:
                if any(_inside(detection.box, face.box) for face in faces):
                    continue
                # Beside a sure face, unsure detections are mistakes and not worth more looks.
                ways = 4 if not faces or detection.score >= _RIVAL * faces[0].score else 1
                face = self._look_around(picture, detection.region(), detection.score, ways)
                if face.presence >= presence and all(
                    iou(face.box, other.box) < _SAME_MESH for other in faces
                ):
                    faces.append(face)
            if faces:
                break
        return order_faces(faces, "size")

    @torch.no_grad()
    def at_box(self, picture: Tensor, box: Tensor) -> Face:
        """The face in a given box [4] (x_min, y_min, x_max, y_max in pixels), found without the detector.

        Look at `presence`: a box that holds no face gives points all the same.

        Raises:
            ValueError: the picture has not three colours, or the box is empty or outside the picture.
        """
        _check_picture(picture)
        height, width = picture.shape[:2]
        left, top, right, bottom = (float(value) for value in box)
        if not (right > left and bottom > top and right > 0 and bottom > 0 and left < width and top < height):
            raise ValueError(
                f"The face box {[left, top, right, bottom]} is empty or outside the picture "
                f"({width}×{height}). Give x_min, y_min, x_max, y_max in pixels of the picture."
            )
        rough = Region((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * 1.5)
        first = self._look(picture, rough, 1.0)
        return self._look(picture, _region_of_mesh(first.points), 1.0)

    @torch.no_grad()
    def follow(self, picture: Tensor, previous: Face) -> Face:
        """The same face in the next frame of a video, found from where it was before."""
        _check_picture(picture)
        return self._look_again(picture, previous)

    def _look_around(self, picture: Tensor, region: Region, score: float, ways: int) -> Face:
        """The surest mesh of a face that may lie on its side or stand on its head: the detector's eyes are wrong by up
        to a half turn there. Each look is followed by one where its own mesh says the face is.

        A face turned by any multiple of 15 degrees is found so, in grey and faded to a quarter too; comparing the two
        ways up that the detector's eyes allow left eight of 24 wrong when faded.
        """
        quarters = [dataclasses.replace(region, angle=region.angle + k * math.pi / 2) for k in range(ways)]
        first = [self._look(picture, way, score) for way in quarters]
        second = [self._look_again(picture, face) for face in first]
        surest = max(second, key=lambda face: face.presence)
        again = self._look_again(picture, surest)
        if min(surest.presence, again.presence) >= _SURE:
            return again
        third = self._look_again(picture, second[0])
        return dataclasses.replace(
            third, presence=min(face.presence for face in (first[0], second[0], third))
        )

    def _look_again(self, picture: Tensor, face: Face) -> Face:
        return self._look(picture, _region_of_mesh(face.points), face.score)

    def _look(self, picture: Tensor, region: Region, score: float) -> Face:
        view = sample(picture, region, _INPUT, "border", pixel_centres=False)
        points, presence, _ = self.mesh(view[None].to(self.detector.anchors.device))
        own = points.reshape(POINTS, 3) / _INPUT
        flat = region.to_picture(own[:, :2] - 0.5)
        points = torch.cat([flat, own[:, 2:] * region.side], dim=1).to(picture.device)
        return Face(points, score, float(presence.reshape(()).sigmoid()))


def _check_picture(picture: Tensor) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected one picture [H, W, 3], got a tensor of shape {list(picture.shape)}")


def _inside(box: Tensor, known: Tensor) -> bool:
    """Whether most of a detection lies on a face that is known already."""
    return bool(overlap(box, known) > 0.5 * torch.minimum(area(box), area(known)))


def order_faces(faces: list[Face], order: str = "size") -> list[Face]:
    """Largest, leftmost or surest first.

    Raises:
        ValueError: an unknown order.
    """
    surest = max((face.score for face in faces), default=0.0)
    keys = {
        # A spot that might be a face is no rival for a face, however large it is.
        "size": lambda face: (face.score < _RIVAL * surest, -float(area(face.box))),
        "left-to-right": lambda face: float(face.box[0] + face.box[2]),
        "confidence": lambda face: -face.score,
    }
    if order not in keys:
        raise ValueError(f"unknown order of faces {order!r}; use one of {', '.join(ORDERS)}")
    return sorted(faces, key=keys[order])


def choose_face(faces: list[Face], height: int, width: int, order: str = "size", index: int = 0) -> Face:
    """The `index`-th face in the given order; `height` and `width` only serve the message.

    Raises:
        ValueError: no face was found, there are fewer than asked for, or the order is unknown.
    """
    if not faces:
        raise ValueError(
            f"No face found in the picture ({width}×{height}). Use a larger or clearer frontal face, "
            "or lower `threshold` of DAWN Prepare Portrait."
        )
    if not 0 <= index < len(faces):
        choice = "Choose 0" if len(faces) == 1 else f"Choose 0 to {len(faces) - 1}"
        raise ValueError(
            f"Face {index} was asked for, but only {len(faces)} found in the picture ({width}×{height}). "
            f"{choice}, or lower `threshold` of DAWN Prepare Portrait."
        )
    return order_faces(faces, order)[index]
