"""DAWN Blend Pose & Blink."""

from __future__ import annotations

from comfy_api.latest import io

from ..dawn_model.head_motion.blend import blend_head_motion
from ..dawn_model.structures import HeadMotion
from .support.node import POSE, DawnNode, schema
from .support.sockets import POSE_BLINK
from .support.widgets import decimal


class DawnBlendPoseBlink(DawnNode):
    """Mixes two head motions of the same length. Head and eyes have a weight each: take the head from one and
    the blinks from the other."""

    title, category = "DAWN Blend Pose & Blink", POSE
    aliases = ("head pose", "mix head motion")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                POSE_BLINK.input(name="pose_a"),
                POSE_BLINK.input(name="pose_b"),
                _weight("pose_weight", "the motion of the head"),
                _weight("blink_weight", "the blinks"),
            ],
            outputs=[POSE_BLINK.output()],
        )

    @classmethod
    def execute(
        cls, pose_a: HeadMotion, pose_b: HeadMotion, pose_weight: float, blink_weight: float
    ) -> io.NodeOutput:
        return io.NodeOutput(blend_head_motion(pose_a, pose_b, pose_weight, blink_weight))


def _weight(name: str, what: str) -> io.Input:
    return decimal(
        name, 0.5, (0.0, 1.0), 0.05, f"Where to take {what} from: 0 is all from pose_a, 1 is all from pose_b."
    )
