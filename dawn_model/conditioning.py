"""What the denoiser is told about the portrait and about every frame (paper section 3.3; specification
sections 2 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from .structures import FaceState, HeadMotion


def box_mask(box: Tensor, height: int, width: int, size: int) -> Tensor:
    """Draw the face box into a picture of `size` × `size` pixels.

    The authors divide x by the height and y by the width and keep pixel indices in eight bits. Both are
    mended here: for square portraits up to 256 pixels the mask is theirs, for others it lies on the face.

    Args:
        box:           [4]: x_min, y_min, x_max, y_max in pixels of the picture it was found in
        height, width: of that picture
        size:          of the picture the model sees

    Returns [1, 1, S, S], float32: 1 inside (both ends included), 0 outside; all 0 beyond the border.

    Raises ValueError when `box` has not four numbers.
    """
    if box.shape != (4,):
        raise ValueError(f"a box is x_min, y_min, x_max, y_max; got shape {tuple(box.shape)}")
    sides = torch.tensor([width, height, width, height], dtype=torch.float32, device=box.device)
    left, top, right, bottom = (box.float() / sides * size).unbind()
    pixel = torch.arange(size, device=box.device)
    rows = (pixel >= top.trunc()) & (pixel <= (bottom + 1).trunc())
    columns = (pixel >= left.trunc()) & (pixel <= (right + 1).trunc())
    return (rows[:, None] & columns[None, :]).float()[None, None]


def condition_rows(audio_features: Tensor, motion: HeadMotion, face: FaceState) -> Tensor:
    """One row per frame: what is heard, and how far head and lids are from where the portrait holds them.

    The differences stay in their own units (degrees, scale, units of a 120-pixel crop; eye-aspect ratio):
    the model was trained on them as they are.

    Args:
        audio_features: [F, D]
        motion:         absolute head pose and blink of F frames
        face:           of the portrait

    Returns [F, D + 8]: audio ‖ pose difference (6) ‖ blink difference (2).

    Raises ValueError when the lengths differ.
    """
    frames = len(audio_features)
    if len(motion.pose) != frames or len(motion.blink) != frames:
        raise ValueError(
            f"speech has {frames} frames, head pose {len(motion.pose)}, blink {len(motion.blink)}; "
            "they must be equal"
        )
    pose = motion.pose.to(audio_features) - face.pose.to(audio_features)
    blink = motion.blink.to(audio_features) - face.blink.to(audio_features)
    return torch.cat([audio_features, pose, blink], dim=1)
