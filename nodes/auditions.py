"""DAWN Auditions."""

from __future__ import annotations

from comfy_api.latest import io

from ..dawn_model.drawing.contact_sheet import put_clip
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.frame_range import FrameRange
from ..dawn_model.structures import FPS, AudioFeatures, HeadMotion
from .generate_pose_blink import DawnGeneratePoseBlink
from .load_model import LoadedModel
from .render_frames import DawnRenderFrames
from .sample_motion import DawnSampleMotion
from .support import host
from .support.node import POSE, DawnNode, schema
from .support.sockets import Speech, clip_inputs, frame_outputs
from .support.widgets import decimal, whole

BEYOND = 50
"""Frames after those that are shown: what a frame sees of its future."""


class DawnAuditions(DawnNode):
    """Shows the same speech with several seeds side by side, a few seconds of each, for you to choose a
    performance. The seed is written into every picture; give it to DAWN Generate Pose & Blink and DAWN Sample
    Motion, or to DAWN Talking Head."""

    title, category = "DAWN Auditions", POSE
    aliases = ("choose seed", "contact sheet", "compare head motion", "performances")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                *clip_inputs(),
                whole(
                    "first_seed",
                    1,
                    (0, 0xFFFFFFFFFFFFFF00),
                    "The seed of the first one; the others count on.",
                ),
                whole(
                    "columns", 3, (1, 5), "How many beside each other, and as many rows: 3 shows nine seeds."
                ),
                decimal("start", 0.0, (0.0, 86400.0), 0.04, "Where in the speech to begin, in seconds."),
                decimal(
                    "seconds",
                    3.0,
                    (0.2, 60.0),
                    0.04,
                    "How much of it to show. The time to wait grows with it.",
                ),
                whole("size", 240, (64, 1024), "The side of each picture, in pixels.", step=8),
            ],
            outputs=frame_outputs(),
        )

    @classmethod
    def execute(
        cls,
        model: LoadedModel,
        portrait: Portrait,
        speech: Speech,
        first_seed: int,
        columns: int,
        start: float,
        seconds: float,
        size: int,
    ) -> io.NodeOutput:
        total, first = len(speech.features), round(start * FPS)
        if first >= total:
            raise ValueError(
                f"start: {start:g} s is beyond the end of the speech, which lasts {total / FPS:.2f} s"
            )
        shown = FrameRange(total, first, min(total, first + max(1, round(seconds * FPS))) - 1)
        # From the first frame on, because noise is drawn for each frame of the clip, and on to what is not shown.
        begun = FrameRange(total, 0, min(total - 1, shown.last + BEYOND))
        sound = {
            **speech.audio,
            "waveform": begun.waveform(speech.audio["waveform"], speech.audio["sample_rate"]),
        }
        rows = slice(0, len(begun))
        part = Speech(AudioFeatures(speech.features.features[rows]), sound)
        sheet = host.empty_images(
            len(shown), columns * size, columns * size, "size", columns, "show fewer seconds"
        )
        for number in range(columns**2):
            seed = first_seed + number
            # The head of the whole speech, so that it is the one that a video with this seed has.
            (pose,) = DawnGeneratePoseBlink.execute(model, portrait, speech, seed).args
            pose = HeadMotion(pose.pose[rows], pose.blink[rows])
            (motion,) = DawnSampleMotion.execute(
                model, portrait, part, pose, seed, steps=0, eta=1.0, guidance=1.0, window=0
            ).args
            rendered = DawnRenderFrames.execute(model, portrait, motion, shown.first, shown.last)
            frames, audio, fps = rendered.args
            put_clip(sheet, number, columns, frames, f"seed {seed}")
        return io.NodeOutput(sheet, audio, fps)
