"""DAWN Generate Pose & Blink."""

from __future__ import annotations

import comfy.model_management as mm
from comfy_api.latest import io

from ..dawn_model.diffusion.noise import FrameNoise
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.head_motion.generate import generate_head_motion
from ..dawn_model.structures import AudioFeatures, HeadMotion
from .load_model import LoadedModel
from .support import host
from .support.node import POSE, DawnNode, schema
from .support.sockets import POSE_BLINK, Speech, clip_inputs
from .support.widgets import whole

BYTES_PER_FRAME = 32 * 1024
"""Activations of the small networks, generously."""


class DawnGeneratePoseBlink(DawnNode):
    """Lets the speech move the head and blink the eyes, starting from how the portrait holds them. Another seed
    gives another performance of the same speech."""

    title, category = "DAWN Generate Pose & Blink", POSE
    aliases = ("head pose", "head motion", "blink", "talking")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                *clip_inputs(),
                whole(
                    "seed",
                    0,
                    (0, 0xFFFFFFFFFFFFFFFF),
                    "The same seed gives the same head motion on every machine, up to rounding.",
                    control_after_generate=True,
                ),
            ],
            outputs=[POSE_BLINK.output()],
        )

    @classmethod
    def execute(cls, model: LoadedModel, portrait: Portrait, speech: Speech, seed: int) -> io.NodeOutput:
        model.require_features(speech)
        mm.throw_exception_if_processing_interrupted()
        frames = len(speech.features)
        patchers = model.motion_patchers
        device = host.load(patchers, BYTES_PER_FRAME * frames)
        noise = FrameNoise(seed, "pose-blink")
        draws = [
            noise(index, frames, motion.z_dim).to(device) for index, motion in enumerate(model.config.motion)
        ]
        _, face = portrait.at(model.config.image_size)
        motion = generate_head_motion(
            [patcher.model for patcher in patchers],
            AudioFeatures(speech.features.features.to(device)),
            face,
            draws,
        )
        return io.NodeOutput(HeadMotion(motion.pose.cpu(), motion.blink.cpu()))
