"""Mixes two tracks of head and eyes."""

from __future__ import annotations

import torch

from ..structures import HeadMotion


def blend_head_motion(a: HeadMotion, b: HeadMotion, pose_weight: float, blink_weight: float) -> HeadMotion:
    """Weight 0 is `a`, 1 is `b`, bit for bit; float32 on the CPU.

    Raises ValueError when the lengths differ or a weight is outside 0..1.
    """
    if len(a) != len(b):
        raise ValueError(
            f"pose_a has {len(a)} frames and pose_b {len(b)}; they must be equal. Make both from the same speech"
        )
    for name, weight in (("pose_weight", pose_weight), ("blink_weight", blink_weight)):
        if not 0 <= weight <= 1:
            raise ValueError(f"{name} is {weight:g}; use 0 (all of a) to 1 (all of b)")
    return HeadMotion(
        torch.lerp(a.pose.float().cpu(), b.pose.float().cpu(), pose_weight),
        torch.lerp(a.blink.float().cpu(), b.blink.float().cpu(), blink_weight),
    )
