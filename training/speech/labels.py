"""Phones with times → how far the lips are apart, how wide the mouth is, and which class of phones a frame holds.

One number for each class of phones, measured on twenty clips of real people (2,900 frames, 1,330 phones, aligned with
pocketsphinx; the clips are nobody's to redistribute, the 34 numbers are ours). Neighbouring classes blend by normalised
Gaussian weights. Left-one-clip-out, curves from the true phones correlate with the real lips by .68 (gap) and .62
(width).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from dawn_model.audio.articulation import PHONE_CLASSES

FPS = 25
_STEPS = 8
"""Evaluations per frame, averaged."""
_LEAD = 0.02
"""Seconds by which the lips are ahead of the sound."""
_PAUSE = 0.3
"""Seconds of silence that leave the mouth as it is; a longer one closes it."""
SHORT_PAUSE, SILENCE = len(PHONE_CLASSES) - 2, len(PHONE_CLASSES) - 1
_CLASS_OF = {phone: i for i, phones in enumerate(PHONE_CLASSES[:SHORT_PAUSE]) for phone in phones.split()}
_CLASS_OF |= {"axr": _CLASS_OF["er"], "ix": _CLASS_OF["iy"]}

_GAP = np.array(
    [-1.56, -1.2, -0.98, -0.46, 0.12, 0.0, -0.29, 0.64, 0.4, 0.77, -0.32, 0.17, 0.02, 1.2, 1.51, 0.15, -0.18]
)
_WIDTH = np.array(
    [
        -0.78,
        -0.11,
        -1.67,
        -1.11,
        0.1,
        0.69,
        0.51,
        0.5,
        0.92,
        0.65,
        -0.72,
        -0.08,
        -0.91,
        1.05,
        0.16,
        0.47,
        0.32,
    ]
)
"""Of each class, in standard deviations of the speaker about the speaker's mean."""
GAP_MEAN, GAP_DEVIATION, WIDTH_DEVIATION = 0.145, 0.080, 0.060
"""The speakers' own, mean over the clips, in iris distances."""
_NARROW, _WIDE = 0.03, 0.06
"""Seconds over which a phone pulls at the gap and at the width."""

Phone = tuple[str, float, float]
"""Name (CMU set, lower case), start and end in seconds."""


def read_phones(table: Path) -> dict[str, list[Phone]]:
    """File name → its phones, from a table with the columns file, phone, start, end."""
    found = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found[row["file"]].append((row["phone"], float(row["start"]), float(row["end"])))
    return dict(found)


def class_of(name: str, seconds: float) -> int:
    """Row of `PHONE_CLASSES`; whatever is no phone is a pause or silence, by its length."""
    return _CLASS_OF.get(name, SILENCE if seconds > _PAUSE else SHORT_PAUSE)


def class_shares(phones: list[Phone], frames: int, spread: float = _NARROW, pause: float = 0.2) -> np.ndarray:
    """How much of each class a frame holds, [frames, 17]; closures pull twice, rounding four times as hard."""
    time = (np.arange(frames * _STEPS) + 0.5) / (FPS * _STEPS)
    strength = np.ones(len(PHONE_CLASSES))
    strength[[0, 1, 2, SHORT_PAUSE]] = 2.0, 2.0, 4.0, pause
    shares = np.zeros((len(time), len(PHONE_CLASSES)))
    shares[:, SILENCE] = 1e-3  # before and after everything
    for name, start, end in phones:
        number = class_of(name, end - start)
        distance = np.clip(np.maximum(start - _LEAD - time, time - end + _LEAD), 0, None)
        shares[:, number] += strength[number] * np.exp(-0.5 * (distance / spread) ** 2)
    shares /= shares.sum(1, keepdims=True)
    return shares.reshape(frames, _STEPS, -1).mean(1).astype(np.float32)


def articulation_of(phones: list[Phone], frames: int) -> np.ndarray:
    """[frames, 19] in the columns of `dawn_model.audio.articulation`: gap and width of a typical speaker, shares."""
    narrow, wide = class_shares(phones, frames), class_shares(phones, frames, _WIDE, pause=0.5)
    gap, width = GAP_MEAN + GAP_DEVIATION * (narrow @ _GAP), WIDTH_DEVIATION * (wide @ _WIDTH)
    return np.concatenate([gap[:, None], width[:, None], narrow], axis=1).astype(np.float32)
