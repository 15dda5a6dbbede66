"""What happens in a clip, drawn from a seed: what is said, and how mouth, lids and head move.

40 % of the clips hold the head still, so that the lips are not drowned by the head's motion; 40 % move it;
20 % exaggerate jaw and blinks. One clip in ten is silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dawn_model.audio.mel_encoder import COLUMNS_PER_FRAME, loudness, normalise

from ..paths import SPEECH
from ..speech.visemes import FPS, UNITS, mouth_curves

CONTEXT = 8
"""Video frames of sound before and after a clip that travel with it."""
KINDS, SHARES = ("still", "moving", "wide"), (0.4, 0.4, 0.2)
_BLINK_WIDTH = 0.07
_LIDS_SHUT = 0.7
"""Weight of the blink units at which the lids meet."""
_SHUT_RATIO = 0.06
"""Eye-aspect ratio of shut eyes, as the landmarker sees our renders."""


@dataclass(frozen=True)
class Utterances:
    """Log energies [T, bands] at 100 Hz and phones (name, start, end) of every utterance."""

    energies: list[np.ndarray]
    phones: list[list[tuple[str, float, float]]]

    @classmethod
    def load(cls, path=SPEECH) -> Utterances:
        packed = np.load(path)
        names = packed["phone_names"].tolist()
        ends = np.cumsum(packed["phone_counts"])
        energies = np.split(packed["mel"], np.cumsum(packed["mel_lengths"])[:-1])
        said = zip(packed["phones"], packed["phone_times"].tolist(), strict=True)
        phones = [(names[number], *times) for number, times in said]
        return cls(energies, [phones[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)])


@dataclass(frozen=True)
class Scenario:
    """units: face unit → weight per frame [F]; blink [F, 2]: left and right lid, 0 open to 1;
    pose [F, 3]: yaw, pitch, roll of the renderer in degrees; mel [4·(F + 2·CONTEXT), bands]: normalised;
    rest: the expression that the speech is added to; jaw [F]: true jaw opening;
    spoken [F, units]: what the speech alone does, in the order of visemes.UNITS.
    """

    kind: str
    units: dict[str, np.ndarray]
    blink: np.ndarray
    pose: np.ndarray
    mel: np.ndarray
    rest: dict[str, float]
    jaw: np.ndarray
    spoken: np.ndarray


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


def _random_rest(rng: np.random.Generator, wide: bool) -> dict[str, float]:
    smile, frown = max(0.0, rng.normal(0.05, 0.3)), max(0.0, rng.normal(-0.2, 0.2))
    bared = max(0.0, rng.normal(-0.1, 0.25)) if smile > 0.1 else 0.0
    rest = {f"mouthSmile{side}": smile for side in ("Left", "Right")}
    rest |= {f"mouthFrown{side}": frown for side in ("Left", "Right")}
    rest |= {f"mouthUpperUp{side}": bared for side in ("Left", "Right")}
    rest |= {f"mouthLowerDown{side}": 0.6 * bared for side in ("Left", "Right")}
    rest["browInnerUp"] = max(0.0, rng.normal(0, 0.3))
    rest |= {f"browDown{side}": max(0.0, rng.normal(-0.1, 0.3)) for side in ("Left", "Right")}
    rest["jawOpen"] = max(0.0, rng.normal(-0.1, 0.12)) if not wide else rng.choice([0, 0, 0.1, 0.25])
    return rest


def _sound(rng: np.random.Generator, utterances: Utterances, frames: int):
    """Normalised energies with context, and the phones with time 0 at the clip's first frame."""
    columns = COLUMNS_PER_FRAME * (frames + 2 * CONTEXT)
    number = int(rng.integers(len(utterances.energies)))
    energies = utterances.energies[number].astype(np.float32)
    if rng.random() < 0.1:  # silence, or a steady noise
        level = rng.uniform(-2.5, 1.0) + np.linspace(-1, 1, energies.shape[1]) * rng.normal(0, 0.3)
        return (level + rng.normal(0, 0.15, (columns, energies.shape[1]))).clip(-2.5, 2.5), []
    import torch

    tensor = torch.from_numpy(energies)
    mel = normalise(tensor, loudness(tensor)).numpy()
    spoken = len(mel) // COLUMNS_PER_FRAME
    start = int(rng.integers(-8, max(-7, spoken - frames + 8)))
    index = np.arange(columns) + COLUMNS_PER_FRAME * (start - CONTEXT)
    window = np.where(((index >= 0) & (index < len(mel)))[:, None], mel[index.clip(0, len(mel) - 1)], -2.5)
    seconds = start / FPS
    return window, [(name, a - seconds, b - seconds) for name, a, b in utterances.phones[number]]


def random_scenario(
    rng: np.random.Generator, utterances: Utterances, frames: int, kind: str | None = None
) -> Scenario:
    """A clip of `frames` frames of the given kind, or of a random one."""
    kind = kind or str(rng.choice(KINDS, p=SHARES))
    wide = kind == "wide"
    mel, phones = _sound(rng, utterances, frames)
    speech = mouth_curves(phones, frames) * rng.uniform(0.85, 1.2) * (1.4 if wide else 1.0)
    rest = _random_rest(rng, wide)
    units = {name: speech[:, column].copy() for column, name in enumerate(UNITS)}
    pressed = np.clip(units["mouthPressLeft"] / 0.4, 0, 1)
    for name, weight in rest.items():
        opens = name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight") or "LowerDown" in name
        units[name] = units.get(name, 0) + weight * (1 - pressed if opens else np.ones(frames))
    blink = blink_curve(rng, frames, often=wide or rng.random() < 0.5)
    units["eyeBlinkLeft"], units["eyeBlinkRight"] = blink.T

    base = rng.normal(0, (9, 6, 4))
    if kind == "still" or (wide and rng.random() < 0.5):
        moved = np.zeros((frames, 3))
    else:
        swing = (rng.uniform(2, 9), rng.uniform(2, 7), rng.uniform(1, 6))
        moved = np.stack([s * smooth_noise(rng, frames, rng.uniform(0.8, 2)) for s in swing], axis=1)
    pose, heard = base + moved, mel.astype(np.float16)
    return Scenario(kind, units, blink, pose, heard, rest, units["jawOpen"], speech.astype(np.float32))
