"""DAWN Prepare Portrait."""

from __future__ import annotations

import logging

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..dawn_model.crop import MARGIN, crop_face
from ..dawn_model.face import face_state
from ..dawn_model.face_mesh import ORDERS, FaceLandmarker, choose_face
from ..dawn_model.face_overlay import draw_face_overlay
from ..dawn_model.portrait import Portrait
from . import host
from .sockets import CATEGORY, DawnPortrait

log = logging.getLogger(__name__)

CROP_PREVIEW_SIZE = 512


class DawnPreparePortrait(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DawnPreparePortrait",
            display_name="DAWN Prepare Portrait",
            category=CATEGORY,
            description=(
                "Finds the face, measures how the head is held and how far the eyes are open, and cuts a square "
                "round it as DAWN expects. The overlay shows what was found; look at it when a result is odd."
            ),
            inputs=[
                io.Image.Input(
                    "image", tooltip="One picture with a face, best seen from the front, mouth closed."
                ),
                io.Combo.Input(
                    "face_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How faces are numbered when there are several.",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="Which face to use; 0 is the first in that order.",
                ),
                io.Float.Input(
                    "margin",
                    default=MARGIN,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="Room round the face, in sizes of the face. The default matches DAWN's training data.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    tooltip="How sure the face detector must be. Lower it when a face is not found.",
                ),
            ],
            outputs=[
                DawnPortrait.Output(display_name="portrait"),
                io.Image.Output(display_name="crop"),
                io.Image.Output(display_name="overlay"),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, face_order: str, face_index: int, margin: float, threshold: float
    ) -> io.NodeOutput:
        picture = to_rgb(image).float()
        height, width = picture.shape[:2]
        device = mm.get_torch_device()
        landmarker = FaceLandmarker.load().to(device)
        faces = landmarker(picture, threshold)
        face = choose_face(faces, height, width, face_order, face_index)
        if len(faces) > 1:
            log.info("DAWN: %d faces found, using number %d by %s", len(faces), face_index, face_order)
        points = face.points.cpu()
        crop = crop_face(points, height, width, CROP_PREVIEW_SIZE, margin)
        portrait = Portrait(picture, points, crop)
        others = [other for other in faces if other is not face]
        overlay = draw_face_overlay(picture, face, face_state(points, height, width), crop, others)
        results = [result.to(host.result_device())[None] for result in (crop.cut(picture), overlay)]
        return io.NodeOutput(portrait, *results)


def to_rgb(image: Tensor | None) -> Tensor:
    """IMAGE [1, H, W, C] with 1, 3 or 4 channels → [H, W, 3]; transparency shows white.

    Raises ValueError for a batch, for no picture, and for values that are not numbers.
    """
    if image is None:
        raise ValueError("image: nothing arrived; connect a Load Image node")
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"image: expected pictures [batch, height, width, 1, 3 or 4], got {list(image.shape)}"
        )
    if image.shape[0] != 1:
        raise ValueError(
            f"image: a batch of {image.shape[0]} pictures arrived, and one portrait is animated at a time. "
            "Choose one with Image From Batch, or send them one by one"
        )
    picture = image[0]
    if not picture.isfinite().all():
        raise ValueError("image: the picture holds values that are not numbers (NaN or infinite)")
    if picture.shape[-1] == 4:
        alpha = picture[..., 3:]
        return picture[..., :3] * alpha + (1 - alpha)
    return picture.expand(-1, -1, 3) if picture.shape[-1] == 1 else picture
