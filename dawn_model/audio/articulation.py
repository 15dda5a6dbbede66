"""What the embedded model's speech features mean: how a typical speaker's mouth articulates the sound.

The authors' models are conditioned on HuBERT's hidden states. The embedded model's encoder goes one step further and
predicts, for every video frame, the shape that a mouth has when it says this: numbers that can be measured on a face,
scaled and read in a log. Lengths are in distances between the irises, about 6.3 cm.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PHONE_CLASSES = (
    "p b m", "f v", "w uw", "r er", "sh zh ch jh", "t d n l s z", "th dh", "k g ng hh y", "ih iy", "ey",
    "uh ow oy", "ah ax", "ao aw", "ae eh", "aa ay", "short pause", "silence",
)  # fmt: skip
"""Groups of ARPAbet phones that look alike on the lips, a pause between words, and silence: whatever is not speech."""

PAUSES = 2
"""The last classes are no phones."""
PHONES = slice(0, len(PHONE_CLASSES) - PAUSES)
"""Those that are, among the classes."""

LIP_GAP = 0
"""Column of the distance between the inner lips: about .15 in speech, 0 shut, .4 wide open."""
MOUTH_WIDTH = 1
"""Column of the distance between the corners of the mouth, against the speaker's own mouth at rest."""
CLASS_SHARES = slice(2, 2 + len(PHONE_CLASSES))
"""Columns of how much of each class a frame holds, 0 to 1; they sum to 1 where the network is sure."""
ARTICULATION_DIM = CLASS_SHARES.stop

GAP_MEAN = 0.145
"""Mean of the gap over speech."""
_GAP_GAIN, _WIDTH_GAIN = 1.5, 2.2
"""An encoder predicts means, which vary less than mouths do; measured on seven clips of real people."""
_CLOSING = 0.4, 0.7
"""Share of p, b and m from which, and at which, the lips belong to them alone."""
_RESTING, _REST_FRAMES = (0.4, 0.7), 15
"""The same of silence that lasts for so many frames; in a shorter pause a mouth stays as it is."""


def closed(shares: Tensor, closing: tuple[float, float] = _CLOSING) -> Tensor:
    """How far the lips should meet, 0 to 1, from the shares of the classes [F, 17] → [F].

    The mean of a closure and its open neighbours is an open mouth, and no viewer reads that as a *b*. Where p, b, m or
    long silence prevail they decide alone.
    """
    silence = F.pad(shares[None, :, -1], (_REST_FRAMES // 2,) * 2, mode="replicate")
    lasting = -F.max_pool1d(-silence, _REST_FRAMES, 1)
    lasting = F.max_pool1d(lasting, _REST_FRAMES, 1, _REST_FRAMES // 2)[0]
    return torch.maximum(_ramp(shares[:, 0], closing), _ramp(lasting, _RESTING))


def mouth_of(articulation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a mouth does that says this: articulation [F, 19] → gap [F], width against rest [F], shares [F, 17]."""
    shares = articulation[:, CLASS_SHARES].clamp(min=0)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-3)
    gap = GAP_MEAN + _GAP_GAIN * (articulation[:, LIP_GAP] - GAP_MEAN)
    return gap.clamp(min=0) * (1 - closed(shares)), _WIDTH_GAIN * articulation[:, MOUTH_WIDTH], shares


def _ramp(x: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = limits
    return ((x - low) / (high - low)).clamp(0, 1)
