"""DAWN Pose & Blink From Video."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io, ui

from ..dawn_model.face.landmarker import FaceLandmarker
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.head_motion.video import REFERENCES, film_head_motion, onto_portrait
from ..dawn_model.structures import FPS
from .support import feedback
from .support.node import POSE, DawnNode, schema
from .support.pose_track import fit_to_speech, length_input, rest_state
from .support.sockets import PORTRAIT, POSE_BLINK, SPEECH, Speech
from .support.video_frames import timed_frames
from .support.widgets import choice, decimal

log = logging.getLogger(__name__)


class DawnPoseBlinkFromVideo(DawnNode):
    """Takes head motion and blinks from a video of somebody, with any frame rate, for the portrait to do the
    same. The lips follow the speech, not the video."""

    title, category = "DAWN Pose & Blink From Video", POSE
    aliases = ("head pose", "head tracking", "reenactment", "driving video")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                io.MultiType.Input(
                    "video",
                    [io.Video, io.Image],
                    tooltip="A video, or a batch of images, in which a face is seen. The largest one is followed.",
                ),
                PORTRAIT.input(),
                SPEECH.input(),
                choice(
                    "reference",
                    REFERENCES,
                    REFERENCES[0],
                    "What in the video stands for the portrait's own pose. average or first frame: the "
                    "portrait moves as the head in the video moves from there, and narrow eyes stay narrow. "
                    "absolute: it is turned exactly as in the video.",
                ),
                length_input(),
                decimal(
                    "images_fps",
                    float(FPS),
                    (0.1, 1000.0),
                    0.01,
                    "Frames a second of a batch of images. A video brings its own.",
                ),
                decimal(
                    "threshold",
                    0.5,
                    (0.05, 1.0),
                    0.05,
                    "How sure the face detector must be. Lower it when the face is not found.",
                ),
            ],
            outputs=[
                POSE_BLINK.output(),
                io.Int.Output(
                    display_name="frames_without_face",
                    tooltip="Filled in from the frames around them. Many: choose another video.",
                ),
                io.String.Output(display_name="report", tooltip="The same in words."),
            ],
        )

    @classmethod
    def execute(
        cls,
        video: Any,
        portrait: Portrait,
        speech: Speech,
        reference: str,
        length: str,
        images_fps: float,
        threshold: float,
    ) -> io.NodeOutput:
        wanted = len(speech.features)
        progress = feedback.Progress(wanted, "reading the video")
        landmarker = FaceLandmarker.load()
        try:
            filmed = film_head_motion(
                landmarker,
                timed_frames(video, images_fps),
                threshold,
                longest=wanted,
                on_frame=lambda seconds: progress.update(min(wanted, round(seconds * FPS) + 1)),
            )
        except ValueError as error:
            raise ValueError(f"video: {str(error).removeprefix('video: ')}") from error
        motion = onto_portrait(filmed.motion, rest_state(portrait), reference)
        motion, fitted = fit_to_speech(motion, speech, length, "video")
        report = f"{filmed.filmed} frames looked at, {filmed.without_face} without a face"
        report += " (filled in from the frames around them). " if filmed.without_face else ". "
        report += fitted
        log.log(logging.WARNING if filmed.without_face else logging.INFO, "DAWN: video: %s", report)
        return io.NodeOutput(motion, filmed.without_face, report, ui=ui.PreviewText(report))
