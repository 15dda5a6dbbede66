"""DAWN Prepare Portrait."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..dawn_model.face.advice import portrait_advice
from ..dawn_model.face.crop import MARGIN, SHIFT, crop_face
from ..dawn_model.face.given_faces import (
    boxes_for,
    faces_from_landmarks,
    faces_in_boxes,
    inside_mask,
    parse_box,
)
from ..dawn_model.face.landmarker import ORDERS, Face, FaceLandmarker, choose_face, order_faces
from ..dawn_model.face.overlay import draw_face_overlay
from ..dawn_model.face.picture import WHITE, mask_for, to_pictures
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.face.state import face_state
from .support import feedback, host
from .support.node import STAGES, DawnNode, schema
from .support.preview import preview
from .support.sockets import PORTRAIT, BoundingBox, FaceLandmarks
from .support.widgets import choice, decimal, switch, text, whole

log = logging.getLogger(__name__)

CROP_PREVIEW_SIZE = 512


class DawnPreparePortrait(DawnNode):
    """Finds the face, measures how the head is held and how far the eyes are open, and cuts a square round it
    as DAWN expects. The overlay shows what was found; look at it when a result is odd. A batch of pictures
    gives a list of portraits, and every node behind runs once for each of them."""

    title, category = "DAWN Prepare Portrait", STAGES
    aliases = ("face", "face detection", "portrait", "crop face", "face landmarks")
    advanced = ("threshold", "shift_x", "shift_y", "background", "box")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="A picture with a face, best seen from the front, mouth closed. Of a batch, every "
                    "picture becomes a clip of its own.",
                ),
                choice("face_order", ORDERS, ORDERS[0], "How faces are numbered when there are several."),
                whole("face_index", 0, (0, 99), "Which face to use; 0 is the first in that order."),
                decimal(
                    "margin",
                    MARGIN,
                    (0.0, 3.0),
                    0.05,
                    "Room round the face, in sizes of the face. The default matches DAWN's training data.",
                ),
                decimal(
                    "threshold",
                    0.5,
                    (0.05, 1.0),
                    0.05,
                    "How sure the face detector must be. Lower it when a face is not found.",
                ),
                decimal(
                    "shift_x",
                    SHIFT[0],
                    (-1.0, 1.0),
                    0.01,
                    "Moves the square to the right, in sides of the square.",
                    optional=True,
                ),
                decimal(
                    "shift_y",
                    SHIFT[1],
                    (-1.0, 1.0),
                    0.01,
                    "Moves the square down, in sides of the square. The default matches DAWN's training data.",
                    optional=True,
                ),
                switch(
                    "align_roll",
                    False,
                    "Turns the square with the head, for heads that lie or lean far over. Pasting back "
                    "turns it again.",
                    optional=True,
                ),
                text(
                    "background",
                    WHITE,
                    "What shows through where a picture with alpha is transparent: a name, or #rrggbb.",
                    optional=True,
                ),
                text(
                    "box",
                    "",
                    "Where the face is, when it is not found by itself, in a drawing for one: x, y, width, "
                    "height in pixels, from brows to chin. Empty finds it by itself.",
                    optional=True,
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only faces in the white part of this mask count. Of the same size as the picture.",
                ),
                BoundingBox.Input(
                    "bounding_box",
                    optional=True,
                    extra_dict={"forceInput": True},
                    tooltip="Boxes from another node, instead of our own search. With several, order and index choose.",
                ),
                FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From ComfyUI's Detect Face Landmarks (MediaPipe), instead of our own search.",
                ),
            ],
            outputs=[
                PORTRAIT.output(is_output_list=True),
                io.Image.Output(
                    display_name="crop", is_output_list=True, tooltip="The square that will be animated."
                ),
                io.Image.Output(
                    display_name="overlay",
                    is_output_list=True,
                    tooltip="The picture with what was found: faces, head angles, the square.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor | None,
        face_order: str,
        face_index: int,
        margin: float,
        threshold: float,
        shift_x: float = SHIFT[0],
        shift_y: float = SHIFT[1],
        align_roll: bool = False,
        background: str = WHITE,
        box: str = "",
        mask: Tensor | None = None,
        bounding_box: Any = None,
        face_landmarks: Any = None,
    ) -> io.NodeOutput:
        pictures = to_pictures(image, background)
        height, width = pictures[0].shape[:2]
        masks = mask_for(mask, len(pictures), height, width) if mask is not None else [None] * len(pictures)
        search = _Search(
            len(pictures), threshold, parse_box(box), bounding_box, face_landmarks, (height, width)
        )
        portraits, crops, overlays, advice, shown = [], [], [], [], []
        progress = feedback.Progress(len(pictures), "finding the face")
        for index, (picture, inside) in enumerate(zip(pictures, masks, strict=True)):
            try:
                faces = search.faces(index, picture)
                chosen = faces if inside is None else inside_mask(faces, inside)
                face = choose_face(chosen, height, width, face_order, face_index)
            except ValueError as error:
                raise ValueError(
                    f"picture {index + 1} of {len(pictures)}: {error}" if len(pictures) > 1 else str(error)
                ) from error
            if len(chosen) > 1:
                log.info("DAWN: %d faces found, using number %d by %s", len(chosen), face_index, face_order)
            points = face.points.cpu()
            crop = crop_face(points, height, width, CROP_PREVIEW_SIZE, margin, (shift_x, shift_y), align_roll)
            others = [other for other in faces if other is not face]
            overlay = draw_face_overlay(picture, face, face_state(points, height, width), crop, others)
            portraits.append(Portrait(picture, points, crop))
            advice += [sentence for sentence in portrait_advice(portraits[-1]) if sentence not in advice]
            crops.append(crop.cut(picture).to(host.result_device())[None])
            shown.append(_shown(order_faces(chosen, face_order), face_index, height, width))
            overlays.append(overlay.to(host.result_device())[None])
            progress.update(index + 1)
        feedback.advise(advice, "image")
        on_node = preview(lambda: {**ui.PreviewImage(torch.cat(overlays)).as_dict(), "dawn_faces": shown})
        return io.NodeOutput(portraits, crops, overlays, ui=on_node)


def _shown(faces: list[Face], index: int, height: int, width: int) -> dict[str, Any]:
    """What `web/face_picker.js` draws: the faces in the order that `index` counts, in shares of the picture."""
    boxes = []
    for face in faces:
        left, top, right, bottom = face.box.tolist()
        boxes.append([left / width, top / height, (right - left) / width, (bottom - top) / height])
    return {"width": width, "height": height, "index": index, "faces": [{"box": box} for box in boxes]}


class _Search:
    """Finds the faces of each picture: in the box typed by hand, or as another node found them, or itself."""

    def __init__(
        self,
        pictures: int,
        threshold: float,
        box: Tensor | None,
        bounding_box: Any,
        landmarks: Any,
        size: tuple[int, int],
    ):
        self._threshold = threshold
        self._box = box
        self._boxes = None if bounding_box is None else boxes_for(bounding_box, pictures)
        self._landmarks = None if landmarks is None else faces_from_landmarks(landmarks, pictures, *size)
        self._landmarker = FaceLandmarker.load()

    def faces(self, index: int, picture: Tensor) -> list[Face]:
        if self._box is not None:
            return faces_in_boxes(self._landmarker, picture, [self._box], self._threshold, "box")
        if self._landmarks is not None:
            return self._landmarks[index]
        if self._boxes is not None:
            return faces_in_boxes(
                self._landmarker, picture, self._boxes[index], self._threshold, "bounding_box"
            )
        return self._landmarker(picture, self._threshold)
