"""A track of head and eyes in numbers that a timeline in a browser draws: few, and as a person sees them."""

from __future__ import annotations

import math

from torch import Tensor

from ..structures import FaceState, HeadMotion
from .axes import ANGLES, POSE_AXES, as_seen, shut_ratio

MOST_POINTS = 1500
"""More than a screen has columns; of a longer clip every n-th frame is enough."""


def timeline_curves(motion: HeadMotion, rest: FaceState) -> dict[str, list[float]]:
    """yaw, pitch, roll: degrees from the portrait's pose, as seen; eyes: mean of both, 1 as in the portrait, 0 shut.

    Each has every frame, or every n-th one where there are more than `MOST_POINTS`.
    """
    every = max(1, math.ceil(len(motion) / MOST_POINTS))
    angles = as_seen(motion.pose.float().cpu() - rest.pose.float().cpu())[::every, :ANGLES]
    curves = {axis.name: _rounded(angles[:, column]) for column, axis in enumerate(POSE_AXES[:ANGLES])}
    shut, open_ = shut_ratio(rest), rest.blink.float().cpu()
    room = (open_ - shut).clamp(min=1e-3)  # of eyes that the portrait has shut
    curves["eyes"] = _rounded(((motion.blink.float().cpu() - shut) / room).mean(1)[::every])
    return curves


def _rounded(values: Tensor) -> list[float]:
    """Hundredths: a timeline shows no more, and a message with all digits is four times as long."""
    return [round(value, 2) for value in values.tolist()]
