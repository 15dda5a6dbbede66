"""Phones with times → curves of mouth shapes (ARKit face units) at 25 fps, with coarticulation.

The table is our own. Every phone pulls the mouth towards its shape with a Gaussian weight round its
interval; neighbours blend, closures (p b m f v) pull hardest, and the mouth leads the sound a little.
"""

from __future__ import annotations

import numpy as np

FPS = 25
_SPREAD = 0.045
"""Seconds over which a phone is felt before and after it."""
_LEAD = 0.03
"""Seconds by which the mouth is ahead of the sound."""
_STEPS = 8
"""Evaluations per frame, averaged."""

_SHAPES = {
    "p b m": {"mouthPressLeft": 0.55, "mouthPressRight": 0.55, "mouthRollLower": 0.25, "mouthRollUpper": 0.2},
    "f v": {"jawOpen": 0.06, "mouthRollLower": 0.65, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2},
    "th dh": {"jawOpen": 0.18, "tongueOut": 0.35, "mouthLowerDownLeft": 0.2, "mouthLowerDownRight": 0.2},
    "t d n l s z": {
        "jawOpen": 0.13,
        "mouthStretchLeft": 0.18,
        "mouthStretchRight": 0.18,
        "mouthLowerDownLeft": 0.2,
        "mouthLowerDownRight": 0.2,
    },
    "sh zh ch jh": {
        "jawOpen": 0.14,
        "mouthFunnel": 0.55,
        "mouthLowerDownLeft": 0.15,
        "mouthLowerDownRight": 0.15,
    },
    "k g ng hh y": {"jawOpen": 0.2, "mouthLowerDownLeft": 0.12, "mouthLowerDownRight": 0.12},
    "r er axr": {"jawOpen": 0.18, "mouthPucker": 0.35, "mouthFunnel": 0.2},
    "w uw": {"jawOpen": 0.1, "mouthPucker": 0.85},
    "uh ow oy": {"jawOpen": 0.3, "mouthPucker": 0.45, "mouthFunnel": 0.35},
    "ao aw": {"jawOpen": 0.48, "mouthFunnel": 0.4},
    "aa ay ah ax": {"jawOpen": 0.55},
    "ae eh": {
        "jawOpen": 0.42,
        "mouthStretchLeft": 0.3,
        "mouthStretchRight": 0.3,
        "mouthSmileLeft": 0.12,
        "mouthSmileRight": 0.12,
    },
    "ih iy ey ix": {
        "jawOpen": 0.2,
        "mouthStretchLeft": 0.4,
        "mouthStretchRight": 0.4,
        "mouthSmileLeft": 0.25,
        "mouthSmileRight": 0.25,
    },
    "pau sil": {},
}
SHAPES = {phone: shape for phones, shape in _SHAPES.items() for phone in phones.split()}
UNITS = tuple(sorted({unit for shape in _SHAPES.values() for unit in shape}))
"""The face units that speech moves, in the order of the curves' columns."""

_STRENGTH = {"pau": 0.5, "sil": 0.5, "w": 1.2, "uw": 1.2, "f": 1.5, "v": 1.5}
_STRENGTH |= dict.fromkeys("pbm", 2.0)


def mouth_curves(phones: list[tuple[str, float, float]], frames: int) -> np.ndarray:
    """(name, start, end) in seconds → weight of each of `UNITS` per frame, [frames, len(UNITS)]."""
    time = (np.arange(frames * _STEPS) + 0.5) / (FPS * _STEPS)
    total = np.full(len(time), 1e-3)
    pulled = np.zeros((len(time), len(UNITS)))
    for name, start, end in phones:
        start, end = start - _LEAD, end - _LEAD
        away = np.clip(np.maximum(start - time, time - end), 0, None)
        weight = _STRENGTH.get(name, 1.0) * np.exp(-0.5 * (away / _SPREAD) ** 2)
        total += weight
        for unit, value in SHAPES.get(name, {}).items():
            pulled[:, UNITS.index(unit)] += weight * value
    return (pulled / total[:, None]).reshape(frames, _STEPS, -1).mean(1)
