"""What the denoiser is told about every frame (paper section 3.3; specification section 2, step 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures import FaceState, HeadMotion


def condition_rows(audio_features: Tensor, motion: HeadMotion, face: FaceState) -> Tensor:
    """One row per frame: what is heard, and how far head and lids are from where the portrait holds them.

    The differences stay in their own units (degrees, scale, units of a 120-pixel crop; eye-aspect ratio):
    the model was trained on them as they are.

    Args:
        audio_features: [F, D]
        motion:         absolute head pose and blink of F frames
        face:           of the portrait

    Returns [F, D + 8], of the features' dtype and device: audio ‖ pose difference (6) ‖ blink difference (2).

    Raises ValueError when the lengths differ.
    """
    frames = len(audio_features)
    if len(motion.pose) != frames or len(motion.blink) != frames:
        raise ValueError(
            f"speech has {frames} frames, head pose {len(motion.pose)}, blink {len(motion.blink)}; "
            "they must be equal"
        )
    pose = motion.pose - face.pose.to(motion.pose)
    blink = motion.blink - face.blink.to(motion.blink)
    return torch.cat([audio_features, pose.to(audio_features), blink.to(audio_features)], dim=1)
