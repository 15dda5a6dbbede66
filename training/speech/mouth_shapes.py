"""Classes of phones → weights of the ARKit face units that give a rendered mouth their measured gap and width.

Solved on eight random heads: jaw and lower lip steer the gap, one axis from pucker to stretch the width.
`tests/unit/training` holds the table to what `labels.py` says.
"""

from __future__ import annotations

import numpy as np

_NAMES = (
    "jawOpen", "mouthPucker", "mouthFunnel", "mouthStretch", "mouthSmile", "mouthLowerDown",
    "mouthRollLower", "mouthRollUpper", "mouthPress", "mouthUpperUp", "tongueOut",
)  # fmt: skip
_SIDED = ("mouthStretch", "mouthSmile", "mouthLowerDown", "mouthPress", "mouthUpperUp")
# fmt: off
_TABLE = np.array([  # in the order of the names above
    [.00, .22, .05, .00, .00, .00, .16, .13, .35, .00, .00],  # p b m
    [.06, .08, .02, .00, .00, .06, .50, .00, .00, .15, .00],  # f v
    [.11, .52, .09, .00, .00, .08, .00, .00, .00, .00, .00],  # w uw
    [.15, .32, .06, .00, .00, .15, .00, .00, .00, .00, .00],  # r er
    [.18, .04, .10, .05, .03, .20, .00, .00, .00, .05, .00],  # sh zh ch jh
    [.23, .00, .00, .22, .13, .23, .00, .00, .00, .00, .10],  # t d n l s z
    [.20, .00, .00, .17, .10, .20, .00, .00, .00, .00, .35],  # th dh
    [.29, .00, .00, .19, .11, .29, .00, .00, .00, .00, .00],  # k g ng hh y
    [.27, .00, .00, .29, .17, .27, .00, .00, .00, .00, .00],  # ih iy
    [.31, .00, .00, .23, .14, .31, .00, .00, .00, .00, .00],  # ey
    [.19, .18, .05, .00, .00, .19, .00, .00, .00, .00, .00],  # uh ow oy
    [.23, .00, .00, .04, .02, .23, .00, .00, .00, .00, .00],  # ah ax
    [.23, .24, .06, .00, .00, .23, .00, .00, .00, .00, .00],  # ao aw
    [.37, .00, .00, .33, .20, .35, .00, .00, .00, .00, .00],  # ae eh
    [.40, .00, .00, .13, .08, .35, .00, .00, .00, .00, .00],  # aa ay
    [.24, .00, .00, .17, .10, .24, .00, .00, .00, .00, .00],  # short pause
    [.00, .00, .00, .00, .00, .00, .08, .06, .20, .00, .00],  # silence
])
# fmt: on
UNITS = tuple(name + side for name in _NAMES for side in (("Left", "Right") if name in _SIDED else ("",)))
"""The face units that speech moves."""
SHAPES = np.concatenate(
    [np.repeat(_TABLE[:, [i]], 2 if name in _SIDED else 1, axis=1) for i, name in enumerate(_NAMES)], axis=1
).astype(np.float32)
"""[17, units]"""

_CLOSING = 0.25, 0.55
"""Share of p, b, m and silence from which, and at which, the lips belong to them alone."""


def lips_shut(shares: np.ndarray) -> np.ndarray:
    """How far the lips meet, 0 to 1, from the true shares of the classes [F, 17] → [F]."""
    low, high = _CLOSING
    return ((shares[:, 0] + shares[:, -1] - low) / (high - low)).clip(0, 1)


def mouth_shapes(shares: np.ndarray, strength: np.ndarray | float = 1.0) -> np.ndarray:
    """Shares of the classes [F, 17] → weights of `UNITS`, [F, units].

    strength: how far the mouth moves, a number or [F]. Shapes blend as their shares do, but lips that should meet do:
    a neighbour's open mouth would keep them .1 iris distances apart on average, and no viewer reads that as a *b*.
    """
    strength = np.broadcast_to(strength, len(shares))[:, None]
    shut = lips_shut(shares)[:, None]
    closed = shares[:, :1] / np.maximum(shares[:, :1] + shares[:, -1:], 1e-3) * SHAPES[:1]
    return ((shares @ SHAPES) * strength * (1 - shut) + closed * shut).astype(np.float32)
