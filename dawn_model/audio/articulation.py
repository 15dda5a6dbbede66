"""What the embedded model's speech features mean: how a typical speaker's mouth articulates the sound.

The authors' models are conditioned on HuBERT's hidden states. The embedded model's encoder goes one step further and
predicts, for every video frame, the shape that a mouth has when it says this: numbers that can be measured on a face,
scaled and read in a log. Lengths are in distances between the irises, about 6.3 cm.
"""

from __future__ import annotations

PHONE_CLASSES = (
    "p b m", "f v", "w uw", "r er", "sh zh ch jh", "t d n l s z", "th dh", "k g ng hh y", "ih iy", "ey",
    "uh ow oy", "ah ax", "ao aw", "ae eh", "aa ay", "short pause", "silence",
)  # fmt: skip
"""Groups of ARPAbet phones that look alike on the lips, a pause between words, and silence: whatever is not speech."""

LIP_GAP = 0
"""Column of the distance between the inner lips: about .15 in speech, 0 shut, .4 wide open."""
MOUTH_WIDTH = 1
"""Column of the distance between the corners of the mouth, against the speaker's own mouth at rest."""
CLASS_SHARES = slice(2, 2 + len(PHONE_CLASSES))
"""Columns of how much of each class a frame holds, 0 to 1; they sum to 1 where the network is sure."""
ARTICULATION_DIM = CLASS_SHARES.stop
