"""How head and eyes are shown to a person: names, units, and which way is positive.

DAWN's own signs (`dawn_model/face/state.py`) are those of 3DDFA; a person turns a head the way it moves on the
screen. Everything a person reads or types, in nodes, files and plots, is *as seen*: positive yaw turns the
nose to the picture's right, positive pitch lifts it, positive roll tips the head clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..structures import FaceState

SHUT = 0.06
"""Eye-aspect ratio of shut eyes as the landmarker measures them; about 0.3 is open."""


@dataclass(frozen=True)
class HeadAxis:
    """One column of a pose: its name, its unit, and what its positive and negative directions are called."""

    name: str
    unit: str
    positive: str
    negative: str
    sign: int


POSE_AXES = (
    HeadAxis("yaw", "°", "right", "left", -1),
    HeadAxis("pitch", "°", "up", "down", -1),
    HeadAxis("roll", "°", "clockwise", "counter-clockwise", -1),
    HeadAxis("scale", "", "larger", "smaller", 1),
    HeadAxis("x", "px", "right", "left", 1),
    HeadAxis("y", "px", "up", "down", 1),
)
"""The columns of `HeadMotion.pose`, in order. Scale, x and y are in units of a 120-pixel crop."""

ANGLES = 3
"""The first columns are angles."""


def as_seen(pose: Tensor) -> Tensor:
    """Pose [..., 6] with DAWN's signs → with the signs a person sees, and back: it is its own inverse."""
    return pose * pose.new_tensor([axis.sign for axis in POSE_AXES]) + 0.0  # no -0


def shut_ratio(rest: FaceState) -> Tensor:
    """Eye-aspect ratio [2] of this face with its eyes shut, float32 on the CPU; of eyes that are shut in the
    portrait, what they are."""
    return rest.blink.float().cpu().clamp(max=SHUT)
