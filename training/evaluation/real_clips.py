"""Real people with their own sound: what the encoder hears, and what the finished frames show, against their lips.

The clips are looked at and measured, never trained on and never committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from dawn_model.audio.articulation import mouth_of
from dawn_model.audio.waveform import to_speech
from dawn_model.face.landmarker import FaceLandmarker, choose_face
from dawn_model.structures import AudioFeatures

from ..speech.sounds import RATE, coloured_noise, music
from . import metrics
from .animate import Animator, held
from .mouths import inner_mouth, shut_line

SHUT = 0.03
"""Gap in iris distances below which lips are shut."""


@dataclass(frozen=True)
class RealClip:
    """name; speech [T] at 16 kHz; gap and width [F] of the real lips in iris distances; first frame [H, W, 3]."""

    name: str
    speech: Tensor
    gap: np.ndarray
    width: np.ndarray
    first: Tensor

    @property
    def shut(self) -> np.ndarray:
        """Frames in which the real lips are as good as shut, bool [F]."""
        return self.gap < np.quantile(self.gap, 0.02) + 0.15 * metrics.span(self.gap)


def read_clips(folder: Path) -> Iterator[RealClip]:
    lips = np.load(folder / "lips.npz")
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as file:
            first = next(file.decode(video=0)).to_ndarray(format="rgb24")
        with av.open(str(path)) as file:
            stream = file.streams.audio[0]
            resampler = av.AudioResampler("fltp", "stereo", stream.rate)
            parts = [made.to_ndarray() for frame in file.decode(stream) for made in resampler.resample(frame)]
            parts += [made.to_ndarray() for made in resampler.resample(None)]
        speech = to_speech(torch.from_numpy(np.concatenate(parts, axis=1)), stream.rate)
        gap, width = lips[path.stem + "/gap"], lips[path.stem + "/width"]
        frames = min(len(gap), len(speech) * 25 // RATE)
        yield RealClip(
            path.stem,
            speech[: frames * 640],
            gap[:frames],
            width[:frames],
            torch.from_numpy(first).float() / 255,
        )


def disturbances(rng: np.random.Generator, speech: Tensor) -> Iterator[tuple[str, Tensor]]:
    sound = speech.numpy()
    yield "clean", speech
    yield "-30 dB", torch.from_numpy((np.round(sound * 10**-1.5 * 32767) / 32767).astype(np.float32))
    pink = coloured_noise(rng, len(sound), 0.5) * sound.std() * 10 ** (-5 / 20)
    yield "pink noise at 5 dB", torch.from_numpy((sound + pink).astype(np.float32))


def heard(animator: Animator, clips: list[RealClip]) -> dict[str, np.ndarray]:
    """Disturbance → mean over clips of: r of gap, r of width (as regressed), range of the gap over the real one."""
    rows: dict[str, list] = {}
    for clip in clips:
        for name, sound in disturbances(np.random.default_rng(0), clip.speech):
            features = animator.encode(sound).features[: len(clip.gap)]
            gap, width = features[:, 0].numpy(), features[:, 1].numpy()
            row = [metrics.correlation(gap, clip.gap), metrics.correlation(width, clip.width)]
            rows.setdefault(name, []).append(
                [*row, metrics.span(mouth_of(features)[0].numpy()) / metrics.span(clip.gap)]
            )
    return {name: np.mean(each, axis=0) for name, each in rows.items()}


def finished(
    animator: Animator, clips: list[RealClip]
) -> tuple[dict[str, np.ndarray], list[tuple[Tensor, Tensor]]]:
    """Name of what is measured → value for each clip; and frames and points of each."""
    table: dict[str, list[float]] = {}
    films = []
    for clip in clips:
        picture, face = animator.portrait(clip.first)
        audio = AudioFeatures(animator.encode(clip.speech).features[: len(clip.gap)])
        frames = animator.film(picture, face, audio, held(face, len(audio)))
        points = metrics.track(animator.landmarker, frames)
        films.append((frames, points))
        gap, width = metrics.lip_gap(points), metrics.mouth_width(points)
        colour, luminance = inner_mouth(frames, points, gap)
        darker, jumps = shut_line(frames, points, gap)
        for name, value in {
            "gap r": metrics.correlation(gap, clip.gap),
            "width r": metrics.correlation(width, clip.width),
            "gap range": metrics.span(gap) / metrics.span(clip.gap),
            "width range": metrics.span(width) / metrics.span(clip.width),
            "closed within a frame": metrics.nearby(gap < SHUT)[clip.shut].mean(),
            "closed frames over real": (gap < SHUT).mean() / clip.shut.mean(),
            "first gap": gap[0],
            "least gap": gap.min(),
            "inner colour": colour,
            "inner luminance": luminance,
            "darker between shut lips": darker,
            "jumps of that line": jumps,
        }.items():
            table.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in table.items()}, films


def shut_lines(folder: Path, landmarker: FaceLandmarker, photographs: Iterable[Tensor]) -> np.ndarray:
    """What `shut_line` finds on real people whose lips are shut, [N, 2]: in the six frames of every clip in which they
    are nearest, and on photographs."""
    lips, found = np.load(folder / "lips.npz"), []
    for path in sorted(folder.glob("*.mp4")):
        nearest = np.argsort(lips[path.stem + "/gap"])[:6]
        with av.open(str(path)) as file:
            shown = [f.to_ndarray(format="rgb24") for i, f in enumerate(file.decode(video=0)) if i in nearest]
        found.append([torch.from_numpy(frame).float() / 255 for frame in shown])
    measured = []
    for frames in (*found, *([photograph] for photograph in photographs)):
        points = torch.stack([choose_face(landmarker(f), *f.shape[:2]).points for f in frames])
        measured.append(shut_line(torch.stack(frames), points, metrics.lip_gap(points)))
    measured = np.array(measured)
    return measured[~np.isnan(measured[:, 0])]


def at_rest(animator: Animator, picture: Tensor, face, speech: Tensor, seconds: int = 10) -> dict[str, float]:
    """Movement of the lips over that in speech, in music, noise and silence."""
    rng, samples = np.random.default_rng(1), seconds * RATE
    sounds = {
        "speech": speech[:samples].numpy(),
        "music": 0.1 * music(rng, samples),
        "noise": 0.1 * coloured_noise(rng, samples, 0.5),
        "silence": np.zeros(samples),
    }
    moved = {}
    for name, sound in sounds.items():
        audio = animator.encode(torch.from_numpy(np.asarray(sound, np.float32)))
        frames = animator.film(picture, face, audio, held(face, len(audio)))
        moved[name] = metrics.lip_gap(metrics.track(animator.landmarker, frames))[5:].std()
    return {name: moved[name] / moved["speech"] for name in ("music", "noise", "silence")}
