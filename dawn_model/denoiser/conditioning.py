"""What the denoiser is conditioned on in every frame (arXiv 2410.13726, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.articulation import PAUSES, PHONES, mouth_of
from ..config import CompactConfig, DenoiserConfig
from ..face.mouth import mouth_opening
from ..structures import FaceState, HeadMotion
from .face_code import GAP_CHANNEL, MOUTH_UNIT

_USUAL_WIDTHS = 0.72, 0.92
"""Between these a mouth at rest is wide, in iris distances; one that is wider in the portrait smiles."""
_CLOSING_GAIN = 1.6
"""How much further lips are sent when they should come nearer than the portrait's: the denoiser closes open and smiling
mouths less far than it was shown. Of 1, 1.6 and 2.2 on the first three seconds of seven clips of
real people: shut in 43, 56 and 68 % of the frames in which the real lips are, r of the gap .72, .71 and .70."""


_MEETING = 0.01, 0.05
"""Wanted gaps in iris distances: at and below which lips meet, and from which on they are apart."""


def denoiser_condition(
    config: DenoiserConfig | CompactConfig,
    audio_features: Tensor,
    motion: HeadMotion,
    face: FaceState,
    mouth: float = 1.0,
) -> Tensor:
    """Condition rows [F, audio + pose + blink] of either denoiser.

    mouth: how far the mouth moves; the authors' model knows 1 alone.

    Raises:
        ValueError: when lengths differ, or the model can not do what is asked.
    """
    if isinstance(config, CompactConfig):
        if face.points is None:
            raise ValueError("this model needs the face's mesh points, and the portrait has none")
        audio_features = mouth_condition(audio_features, mouth_opening(face.points), mouth)
    elif mouth != 1.0:
        raise ValueError(
            f"mouth is {mouth:g}, and this model has no such control: its mouth is not told apart from the speech. "
            "Leave it at 1, or choose dawn-nano"
        )
    return condition_rows(audio_features, motion, face)


def mouth_condition(articulation: Tensor, portrait: Tensor, strength: float = 1.0) -> Tensor:
    """What the mouth should do, as a difference from what the portrait's does, like pose and blink.

    Args:
        articulation: [F, 19], see `audio/articulation.py`
        portrait:     [2], gap and width of the portrait's mouth, from `mouth_opening`
        strength:     0 leaves the portrait's mouth as it is, 1 moves it as a typical speaker's, 2 twice as far

    Returns [F, 19]: differences of gap and width in iris distances, shares of the classes of phones, and 0 for pauses:
    what a mouth does then, the gap says.
    """
    gap, width = portrait.to(articulation)
    wanted, wide, shares = mouth_of(articulation)
    partly, further = min(strength, 1.0), max(strength, 1.0)
    opened = further * wanted - gap
    opened = torch.where(opened < 0, _CLOSING_GAIN * opened, opened)
    widened = width.clamp(*_USUAL_WIDTHS) + further * wide - width
    change = torch.stack([opened, widened], dim=1)
    return partly * torch.cat([change, F.pad(shares[:, PHONES], (0, PAUSES))], dim=1)


def lips_shut(condition: Tensor, source: Tensor) -> Tensor:
    """How far the lips are to meet, [F] in 0..1 and float32, from condition rows [F, D] of the embedded model and what
    it sees of the portrait, [1, PORTRAIT_CHANNELS, h, w]."""
    change = condition[:, 0].float()
    change = torch.where(change < 0, change / _CLOSING_GAIN, change)  # what `mouth_condition` was asked for
    gap = change + source[0, GAP_CHANNEL, 0, 0].float() * MOUTH_UNIT
    meet, apart = _MEETING
    return ((apart - gap) / (apart - meet)).clamp(0, 1)


def condition_rows(audio_features: Tensor, motion: HeadMotion, face: FaceState) -> Tensor:
    """One row per frame: audio features, and how far head and lids are from the portrait's.

    The differences stay in their own units (degrees, scale, units of a 120-pixel crop; eye-aspect ratio):
    the model was trained on them as they are.

    Args:
        audio_features: [F, D]
        motion:         absolute head pose and blink of F frames
        face:           of the portrait

    Returns [F, D + 8], of the features' dtype and device: audio ‖ pose difference (6) ‖ blink difference (2).

    Raises:
        ValueError: when the lengths differ.
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
