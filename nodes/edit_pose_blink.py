"""DAWN Edit Pose & Blink."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..dawn_model.head_motion.edit import (
    BLINK_CHOICES,
    NO_LIMIT,
    PRESETS,
    AngleEdit,
    MotionEdit,
    edit_head_motion,
)
from ..dawn_model.head_motion.frame_numbers import frame_numbers
from ..dawn_model.head_motion.keyframes import parse_keyframes
from ..dawn_model.head_motion.timeline import timeline_curves
from ..dawn_model.structures import HeadMotion
from .support.lists import one_call_each
from .support.node import POSE, DawnNode, schema
from .support.pose_track import rest_state
from .support.sockets import PORTRAIT, POSE_BLINK, Floats
from .support.widgets import choice, decimal, text, whole

ANGLES = {
    "yaw": "turns the nose to the right of the picture",
    "pitch": "looks up",
    "roll": "tips the head clockwise",
}
CURVES = ("yaw_curve", "pitch_curve", "roll_curve", "blink_curve")


class DawnEditPoseBlink(DawnNode):
    """Makes the head calmer or livelier, turns it, keeps it still, and says when the eyes blink. As you see the
    picture: positive yaw turns the nose to the right, positive pitch looks up, positive roll tips the head
    clockwise. Zero is how the portrait holds it."""

    title, category = "DAWN Edit Pose & Blink", POSE
    aliases = ("head pose", "head motion", "eye blink", "keyframes")
    advanced = ("yaw_limit", "pitch_limit", "roll_limit", "shift_scale", "blink_seed")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            is_input_list=True,  # a list of numbers from another node is one curve, and not one job per number
            inputs=[
                POSE_BLINK.input(),
                PORTRAIT.input(),
                choice(
                    "preset",
                    PRESETS,
                    "natural",
                    "natural: as it is. calm: half the motion, smoothed. still: the head rests, the eyes "
                    "blink. lips only: head and eyes rest, whatever blink says. Everything else below applies on top.",
                ),
                *_angle_inputs(),
                decimal(
                    "shift_scale",
                    1.0,
                    (0.0, 3.0),
                    0.05,
                    "How much the head moves sideways, up and down, and nearer: 0 not at all, 1 as it is.",
                ),
                decimal(
                    "smoothing",
                    0.0,
                    (0.0, 10.0),
                    0.05,
                    "Seconds. Motion of the head that is quicker than this is smoothed away; blinks stay.",
                ),
                decimal(
                    "camera_pull",
                    0.0,
                    (0.0, 1.0),
                    0.05,
                    "Keeps the eyes on the camera, where the portrait looks: 1 takes away all slow turning "
                    "and looking up or down, 0 none. Quick nods and shakes stay.",
                ),
                choice(
                    "blink",
                    BLINK_CHOICES,
                    "keep",
                    "keep: the blinks that are there. new: others, as often as set below. none: eyes as in "
                    "the portrait. Keyframes can blink in any case.",
                ),
                decimal(
                    "blink_strength",
                    1.0,
                    (0.0, 2.0),
                    0.05,
                    "How far the lids move: 0 not at all, 1 as they do, 2 twice as far. New blinks shut the eyes "
                    "wholly at 1.",
                ),
                decimal(
                    "blinks_per_minute",
                    15.0,
                    (0.0, 60.0),
                    1.0,
                    "How often new blinks come; people blink 10 to 20 times a minute.",
                ),
                whole("blink_seed", 0, (0, 0xFFFFFFFFFFFFFFFF), "Other moments for new blinks."),
                text(
                    "keyframes",
                    "",
                    "What happens when, separated by ; or line breaks: 1.5s yaw=10 blink=1; 3s yaw=0. yaw, "
                    "pitch and roll in degrees are added to the motion (+ right, up, clockwise) and pass smoothly "
                    "from one keyframe to the next. eyes=0 shuts them until further notice, eyes=1 opens them; "
                    "blink=1 is one blink. 40f is frame 40. # starts a comment.",
                    multiline=True,
                    placeholder="1.5s yaw=10 blink=1; 3s yaw=0",
                ),
                *_curve_inputs(),
            ],
            outputs=[POSE_BLINK.output(is_output_list=True)],
        )

    @classmethod
    def execute(cls, **inputs: list[Any]) -> io.NodeOutput:
        calls = one_call_each(inputs, CURVES)
        edited = [_edit(**call) for call in calls]
        shown = {"frames": len(edited[0]), **timeline_curves(edited[0], rest_state(calls[0]["portrait"]))}
        return io.NodeOutput(edited, ui={"dawn_track": [shown]})  # web/keyframe_timeline.js draws it


def _angle_inputs() -> list[io.Input]:
    inputs = []
    for axis, positive in ANGLES.items():
        inputs += [
            decimal(
                f"{axis}_scale",
                1.0,
                (-3.0, 3.0),
                0.05,
                f"How much {axis} moves: 0 not at all, 1 as it is, 2 twice as far, -1 the other way round.",
            ),
            decimal(
                f"{axis}_offset", 0.0, (-90.0, 90.0), 0.5, f"Degrees for the whole clip; positive {positive}."
            ),
            decimal(
                f"{axis}_limit",
                NO_LIMIT,
                (0.0, NO_LIMIT),
                0.5,
                f"{axis} never departs further than this from the portrait, in degrees to either side, "
                f"whatever else is set. {NO_LIMIT:g} is no limit.",
            ),
        ]
    return inputs


def _curve_inputs() -> list[io.Input]:
    inputs = [
        io.MultiType.Input(
            f"{axis}_curve",
            [io.Float, Floats],
            optional=True,
            tooltip=f"Degrees to add, one number per frame (25 a second), from any node that makes a list of "
            f"floats; a single number holds for the whole clip. Positive {positive}.",
        )
        for axis, positive in ANGLES.items()
    ]
    blink = io.MultiType.Input(
        "blink_curve",
        [io.Float, Floats],
        optional=True,
        tooltip="How far the eyes are shut, one number per frame: 0 as they are, 1 shut. Numbers beyond count as "
        "0 or 1.",
    )
    return [*inputs, blink]


def _edit(pose: HeadMotion, portrait: Any, keyframes: str, **options: Any) -> HeadMotion:
    frames = len(pose)
    angles = {
        axis: AngleEdit(*(options.pop(f"{axis}_{what}") for what in ("scale", "offset", "limit")))
        for axis in ANGLES
    }
    given = {name: options.pop(name, None) for name in CURVES}
    curves = {
        name.removesuffix("_curve"): frame_numbers(value, frames, name)
        for name, value in given.items()
        if value is not None
    }
    edit = MotionEdit(keyframes=parse_keyframes(keyframes, frames), curves=curves, **angles, **options)
    return edit_head_motion(pose, rest_state(portrait), edit)
