"""What is measured on frames and speech: lips, lids, pose, synchrony and stillness.

All from the plugin's own landmarker; there is no SyncNet. Use clips of at least 4 s and means over several.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dawn_model.audio.speech_encoder import MEL_PER_FRAME
from dawn_model.audio.waveform import frame_count
from dawn_model.audio.whisper import log_mel, mel_energy
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.state import face_state

UPPER_LIP, LOWER_LIP, IRISES = 13, 14, (468, 473)
MOUTH_POINTS = (61, 291, 0, 17)
EYE_POINTS = ((33, 133, 159, 145), (263, 362, 386, 374))
_BANDS = slice(8, 60)
"""About 300 to 3500 Hz of the 80 bands: voiced speech."""
FURTHEST_LAG = 15


def track(landmarker: FaceLandmarker, frames: Tensor) -> Tensor:
    """The face of a clip's first frame followed through [F, S, S, 3] in 0..1 → points [F, 478, 3] in pixels.

    Raises ValueError when the first frame shows no face.
    """
    faces = landmarker(frames[0])
    if not faces:
        raise ValueError("no face in the first frame")
    face, points = faces[0], []
    for frame in frames:
        face = landmarker.follow(frame, face)
        points.append(face.points)
    return torch.stack(points)


def lip_gap(points: Tensor) -> np.ndarray:
    """Distance of the inner lips in distances of the irises, [F]."""
    gap = (points[:, UPPER_LIP, :2] - points[:, LOWER_LIP, :2]).norm(dim=-1)
    return (gap / (points[:, IRISES[0], :2] - points[:, IRISES[1], :2]).norm(dim=-1)).numpy()


def mouth_width(points: Tensor) -> np.ndarray:
    """Distance of the corners of the mouth in distances of the irises, [F]."""
    width = (points[:, 61, :2] - points[:, 291, :2]).norm(dim=-1)
    return (width / (points[:, IRISES[0], :2] - points[:, IRISES[1], :2]).norm(dim=-1)).numpy()


def brow_height(points: Tensor) -> np.ndarray:
    """Mean distance of brows and upper lids in distances of the irises, [F]."""
    height = ((points[:, [105, 334], :2] - points[:, [159, 386], :2]).norm(dim=-1)).mean(1)
    return (height / (points[:, IRISES[0], :2] - points[:, IRISES[1], :2]).norm(dim=-1)).numpy()


def gaze(points: Tensor) -> np.ndarray:
    """Where the irises are between the corners of their eyes, mean of both, in eye widths, [F]."""
    along = []
    for iris, outer, inner in ((468, 33, 133), (473, 362, 263)):
        axis = points[:, inner, :2] - points[:, outer, :2]
        along.append(((points[:, iris, :2] - points[:, outer, :2]) * axis).sum(-1) / axis.square().sum(-1))
    return torch.stack(along).mean(0).numpy()


def span(curve: np.ndarray) -> float:
    """From the 5 to the 95 % quantile."""
    return float(np.quantile(curve, 0.95) - np.quantile(curve, 0.05))


def nearby(happens: np.ndarray, frames: int = 1) -> np.ndarray:
    """Whether it happens within so many frames, bool [F]."""
    return np.convolve(happens, np.ones(2 * frames + 1), "same") > 0


def quick_part(curve: np.ndarray, seconds: float = 2.0) -> np.ndarray:
    """What is left without a moving mean: the part above about .5 Hz."""
    width = int(seconds * 25) | 1
    return curve - np.convolve(np.pad(curve, width // 2, "reflect"), np.ones(width) / width, "valid")


def states(points: Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pose [F, 6] and eye-aspect ratios [F, 2], as the plugin measures them."""
    found = [face_state(each, size, size) for each in points]
    return np.stack([f.pose.numpy() for f in found]), np.stack([f.blink.numpy() for f in found])


def envelope(speech: Tensor) -> np.ndarray:
    """Smoothed log energy of the voiced bands per video frame, [F], from a waveform [T] at 16 kHz."""
    frames = frame_count(len(speech), 16000)
    energy = log_mel(mel_energy(speech))[_BANDS].mean(0)[: frames * MEL_PER_FRAME]
    per_frame = energy.reshape(-1, MEL_PER_FRAME).mean(1).numpy()
    kernel = np.hanning(5)
    return np.convolve(np.pad(per_frame, 2, "edge"), kernel / kernel.sum(), "valid")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r, 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else 0.0


def at_lags(mouth: np.ndarray, sound: np.ndarray) -> dict[int, float]:
    """Lag in frames → correlation; at positive lags the mouth comes after the sound."""
    length = min(len(mouth), len(sound))
    mouth, sound = mouth[:length], sound[:length]
    result = {}
    for lag in range(-FURTHEST_LAG, FURTHEST_LAG + 1):
        late = mouth[max(0, lag) : length + min(0, lag)]
        early = sound[max(0, -lag) : length + min(0, -lag)]
        result[lag] = correlation(late, early)
    return result


def best_lag(mouths: list[np.ndarray], sounds: list[np.ndarray]) -> int:
    """The lag with the best mean correlation over a batch."""
    tables = [at_lags(mouth, sound) for mouth, sound in zip(mouths, sounds, strict=True)]
    return max(tables[0], key=lambda lag: np.mean([table[lag] for table in tables]))


def synchrony(mouths: list[np.ndarray], sounds: list[np.ndarray]) -> tuple[float, int]:
    """`env`: mean correlation at lag 0 with the clips' own sounds minus that with all other clips' sounds;
    and the best lag of the batch.

    Raises ValueError when all clips have the same sound.
    """
    own = np.mean([at_lags(m, s)[0] for m, s in zip(mouths, sounds, strict=True)])
    others = [
        at_lags(mouth, sound)[0]
        for i, mouth in enumerate(mouths)
        for j, sound in enumerate(sounds)
        if i != j and not np.array_equal(sound, sounds[i])
    ]
    if not others:
        raise ValueError("synchrony needs clips with at least two different sounds")
    return float(own - np.mean(others)), best_lag(mouths, sounds)


def psnr(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """Decibels, of pictures [..., S, S, 3] in 0..1 where mask [S, S] is true."""
    error = (a - b)[..., mask, :].double().square().mean()
    return float(-10 * torch.log10(error.clamp(min=1e-12)))


def outside_mouth_and_eyes(points: Tensor, size: int, face_only: bool = False) -> Tensor:
    """[S, S]: true away from generously drawn mouth and eyes of points [478, 3], and from the chin below the
    mouth, which moves with the jaw; with `face_only` inside the face's box alone."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    keep = torch.ones(size, size, dtype=torch.bool)
    width = points[list(IRISES), :2].diff(dim=0).norm()
    for group, reach in ((MOUTH_POINTS, 0.35), (EYE_POINTS[0], 0.2), (EYE_POINTS[1], 0.2)):
        low, high = (
            points[list(group), :2].amin(0) - reach * width,
            points[list(group), :2].amax(0) + reach * width,
        )
        bottom = size if group is MOUTH_POINTS else high[1]
        keep &= ~((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= bottom))
    if face_only:
        low, high = points[:468, :2].amin(0), points[:468, :2].amax(0)
        keep &= (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    return keep


def blinks_seen(openness: np.ndarray, moments: list[int], reach: int = 3) -> tuple[int, int]:
    """How many of the given frames show a blink within `reach` frames, and how many blinks are elsewhere.

    A blink: the mean eye-aspect ratio [F] falls below half of its own 80 % quantile.
    """
    shut = openness < 0.5 * np.quantile(openness, 0.8)
    starts = np.flatnonzero(shut & ~np.concatenate([[False], shut[:-1]]))
    hits = sum(bool(shut[max(0, m - reach) : m + reach + 1].any()) for m in moments)
    false = sum(all(abs(int(start) - m) > reach + 2 for m in moments) for start in starts)
    return hits, false
