"""What happens in a clip, drawn from a seed: what is said, and how mouth, lids, brows, eyes and head move.

Speech, lids and head are what the denoiser is conditioned on. Everything else (brows, gaze, a smile that comes and
goes) it must draw from noise, as life does: how far and how fast follows measurements of real speakers.

40 % of the clips hold the head still, so that the lips are not drowned by the head's motion; 40 % move it;
20 % exaggerate mouth and blinks. One clip in ten is silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..speech.labels import FPS, Phone, class_shares
from ..speech.mouth_shapes import UNITS, lips_shut, mouth_shapes

KINDS, SHARES = ("still", "moving", "wide"), (0.4, 0.4, 0.2)
_BLINK_WIDTH = 0.09
_LIDS_SHUT = 0.7
"""Weight of the blink units at which the lids meet."""
_SHUT_RATIO = 0.06
"""Eye-aspect ratio of shut eyes, as the landmarker sees our renders."""
_SILENT = 0.1
_OPENING = ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight")
"""Units that part the lips: they give way where the lips should meet."""


EXPRESSIONS = (
    ("browInnerUp",), ("browDownLeft",), ("mouthSmileLeft",), ("eyeSquintLeft",),
    ("eyeLookInLeft", "eyeLookOutLeft"), ("eyeLookUpLeft", "eyeLookDownLeft"),
)  # fmt: skip
"""Units, and what is subtracted from them: brows up and down, smile, squint, gaze to the picture's right and up."""
GAZE_ACROSS = 4


def expression_of(units: dict[str, np.ndarray | float]) -> np.ndarray:
    """What no condition says about a face, from the weights of its units, [..., 6]."""
    none = np.zeros(np.shape(units["browInnerUp"]))
    return np.stack(
        [np.subtract(*(units.get(name, none) for name in (*pair, "")[:2])) for pair in EXPRESSIONS], axis=-1
    ).astype(np.float32)


@dataclass(frozen=True)
class Scenario:
    """units: face unit → weight per frame [F]; blink [F, 2]: left and right lid, 0 open to 1;
    pose [F, 3]: yaw, pitch, roll of the renderer in degrees; shares [F, 17]: of the classes of phones;
    rest: the expression that the speech is added to.
    """

    kind: str
    units: dict[str, np.ndarray]
    blink: np.ndarray
    pose: np.ndarray
    shares: np.ndarray
    rest: dict[str, float]


def eye_ratio(open_ratio: np.ndarray, blink: np.ndarray) -> np.ndarray:
    """Eye-aspect ratio that the landmarker would measure: calibrated on renders (.28 of the way at weight
    .25, .80 at .5, all at .75)."""
    x = np.clip(blink / _LIDS_SHUT, 0, 1)
    return open_ratio - (open_ratio - _SHUT_RATIO) * (3 * x**2 - 2 * x**3)


def blink_curve(rng: np.random.Generator, frames: int, often: bool) -> np.ndarray:
    """Lids per frame [F, 2]; now and then one eye alone or a long closure."""
    time, lids = np.arange(frames) / FPS, np.zeros((frames, 2))
    moment = rng.uniform(0.1, 1.0 if often else 3.0)
    while moment < time[-1] + 0.2:
        width = _BLINK_WIDTH * (rng.uniform(1.5, 4) if rng.random() < 0.15 else rng.uniform(0.8, 1.4))
        pulse = np.exp(-(((time - moment) / width) ** 4)) * (
            1.0 if rng.random() < 0.8 else rng.uniform(0.3, 1)
        )
        eyes = [1.0, 1.0] if rng.random() < 0.9 else rng.permutation([1.0, 0.0])
        lids = np.maximum(lids, pulse[:, None] * eyes)
        moment += rng.uniform(0.4, 1.2) if often else rng.uniform(1.5, 5)
    return lids


def smooth_noise(rng: np.random.Generator, frames: int, seconds: float) -> np.ndarray:
    """Noise of unit deviation that changes within about `seconds`, [F]."""
    width = max(3, int(seconds * FPS))
    noise = rng.normal(size=frames + 12 * width)
    smooth = np.convolve(noise, np.hanning(width), "same")
    return (smooth / (smooth.std() + 1e-6))[6 * width : 6 * width + frames]


def gaze_curve(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Where the eyes look, across and up [F, 2], about -1 to 1: jumps, about one a second, and back to the camera."""
    gaze, frame = np.zeros((frames, 2)), 0
    lively = rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.4, 0.4])
    while frame < frames:
        until = frame + 1 + int(rng.exponential(1.1) * FPS)
        gaze[frame:until] = lively * rng.normal(0, (0.35, 0.2)) * (rng.random() < 0.6)
        frame = until
    return gaze


def _two_sided(name: str, value) -> dict:
    return {name + side: value for side in ("Left", "Right")}


def living_expression(rng: np.random.Generator, frames: int) -> dict[str, np.ndarray]:
    """Face units that follow neither speech nor head, [F] each: brows, gaze, squint, a passing smile."""
    rests = np.clip(np.abs(smooth_noise(rng, frames, 1.0)) - 0.3, 0, None)
    brows = smooth_noise(rng, frames, rng.uniform(0.4, 1.0)) * rests * rng.uniform(0.2, 1.0)
    units = {"browInnerUp": np.clip(brows, 0, 1.2)}
    units |= _two_sided("browOuterUp", np.clip(0.7 * brows, 0, 1.2))
    units |= _two_sided("browDown", np.clip(-0.8 * brows, 0, 1))
    smile = np.clip(smooth_noise(rng, frames, rng.uniform(1.5, 3)) * rng.uniform(0, 0.25), 0, 0.5)
    units |= _two_sided("mouthSmile", smile) | _two_sided("cheekSquint", 0.8 * smile)
    units |= _two_sided("eyeSquint", np.clip(smooth_noise(rng, frames, 1.5) * rng.uniform(0, 0.4), 0, 1))
    across, up = gaze_curve(rng, frames).T
    for name, value in (
        ("eyeLookInLeft", across), ("eyeLookOutRight", across),
        ("eyeLookOutLeft", -across), ("eyeLookInRight", -across),
        ("eyeLookUpLeft", up), ("eyeLookUpRight", up), ("eyeLookDownLeft", -up), ("eyeLookDownRight", -up),
    ):  # fmt: skip
        units[name] = np.clip(value, 0, 1)
    return units


def _random_rest(rng: np.random.Generator) -> dict[str, float]:
    """A speaker's own resting face: mostly calm."""
    smile, frown = max(0.0, rng.normal(0.03, 0.15)), max(0.0, rng.normal(-0.2, 0.2))
    rest = _two_sided("mouthSmile", smile) | _two_sided("mouthFrown", frown)
    rest["browInnerUp"] = max(0.0, rng.normal(0, 0.3))
    return rest | _two_sided("browDown", max(0.0, rng.normal(-0.1, 0.3)))


def random_phones(
    rng: np.random.Generator, utterances: list[list[Phone]], frames: int, silent: float = _SILENT
) -> list[Phone]:
    """A stretch of somebody's speech, spoken faster or slower, with time 0 at the clip's first frame."""
    if rng.random() < silent:
        return []
    phones, rate = utterances[int(rng.integers(len(utterances)))], rng.uniform(0.85, 1.2)
    begin = rng.uniform(-0.3, max(0.0, phones[-1][2] / rate - frames / FPS) + 0.3)
    return [(name, start / rate - begin, end / rate - begin) for name, start, end in phones]


def random_scenario(rng: np.random.Generator, utterances: list[list[Phone]], frames: int) -> Scenario:
    """A clip of `frames` frames."""
    kind = str(rng.choice(KINDS, p=SHARES))
    wide = kind == "wide"
    shares = class_shares(random_phones(rng, utterances, frames), frames)
    drift = 1 + 0.15 * smooth_noise(rng, frames, 1.5)
    strength = np.clip(rng.uniform(0.7, 1.7) * (1.35 if wide else 1.0) * drift, 0, None)
    units = dict(zip(UNITS, mouth_shapes(shares, strength).T.astype(np.float64), strict=True))
    rest = _random_rest(rng)
    for name, weight in (*rest.items(), *living_expression(rng, frames).items()):
        units[name] = units.get(name, 0) + np.broadcast_to(weight, frames)
    shut = lips_shut(shares)
    for name in _OPENING:
        units[name] = units[name] * (1 - shut)
    blink = blink_curve(rng, frames, often=wide or rng.random() < 0.5)
    units["eyeBlinkLeft"], units["eyeBlinkRight"] = blink.T

    base = rng.normal(0, (9, 6, 4))
    if kind == "still" or (wide and rng.random() < 0.5):
        moved = np.zeros((frames, 3))
    else:
        swing = (rng.uniform(2, 9), rng.uniform(2, 7), rng.uniform(1, 6))
        moved = np.stack([s * smooth_noise(rng, frames, rng.uniform(0.8, 2)) for s in swing], axis=1)
    return Scenario(kind, units, blink, base + moved, shares, rest)


def source_expression(
    rng: np.random.Generator, scenario: Scenario, utterances: list[list[Phone]]
) -> dict[str, float]:
    """What the portrait shows, whatever the speaker does afterwards: lips closed, smiling with or without teeth,
    open, speaking; brows near the speaker's own; eyes now and then half shut or looking elsewhere."""
    expression = {k: float(v) * rng.uniform(0.7, 1.3) for k, v in scenario.rest.items()}
    kind = rng.choice(["closed", "smile", "teeth", "open", "speaking"], p=[0.27, 0.13, 0.34, 0.12, 0.14])
    if kind == "closed":
        expression |= _two_sided("mouthPress", rng.uniform(0, 0.25))
    if kind in ("smile", "teeth"):
        expression |= _two_sided("mouthSmile", rng.uniform(0.25, 1.0))
    if kind == "teeth":
        bared = rng.uniform(0.15, 0.8)
        expression |= _two_sided("mouthUpperUp", bared)
        expression |= _two_sided("mouthLowerDown", bared * rng.uniform(0.3, 1.0))
        expression["jawOpen"] = rng.uniform(0, 0.25)
    elif kind == "open":
        expression["jawOpen"] = rng.uniform(0.08, 0.6)
        expression |= _two_sided("mouthLowerDown", rng.uniform(0, 0.3))
    elif kind == "speaking":
        shares = class_shares(random_phones(rng, utterances, 8, silent=0), 8)[4:5]
        for name, value in zip(UNITS, mouth_shapes(shares, rng.uniform(0.8, 1.6))[0], strict=True):
            expression[name] = expression.get(name, 0) + float(value)
    for name, values in living_expression(rng, 1).items():
        if "mouth" not in name and "cheek" not in name:
            expression[name] = expression.get(name, 0) + 0.5 * float(values[0])
    if rng.random() < 0.1:
        expression |= _two_sided("eyeBlink", rng.uniform(0.1, 0.3))
    return expression
