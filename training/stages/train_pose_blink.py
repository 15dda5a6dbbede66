"""Stage 8: the pose/blink network learns how heads and lids move while their owner speaks.

Its targets are made, not recorded, and they are made *of the network's own noise*: smoothed, it is how the head
sways; where it is rare and large, the lids close. So every performance has one right answer, plain regression
suffices, and noise is what tells two performances apart. (Trained by the energy score on tracks with noise of their
own, the network swayed a little and never blinked.)

Ranges and speeds are those of real speakers (deviations of yaw, pitch and roll 3.7, 2.8 and 2.3 degrees, of the part
above half a hertz 2.5, 2.1 and 1.4; 22 blinks a minute of 5.7 frames). Heads do not follow loudness or pitch of the
voice; they rest in long silence.

    python -m training.stages.train_pose_blink --steps 1500
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.audio.articulation import mouth_of
from dawn_model.head_motion.generate import normalise_pose

from ..clips.scenario import eye_ratio
from ..paths import WORK
from ..speech.labels import FPS
from ..speech.sounds import RATE
from .initial import new_networks
from .progress import Progress, options_of
from .train_speech import CHECKPOINT as SPEECH
from .train_speech import folded, recordings, with_pauses

CHECKPOINT = WORK / "pose_blink.pt"
_FRAMES = 160
_UNITS = (0.01, 0.01, 0.01, 0.02, 0.01, 0.01, 0.1, 0.1)
"""What the eight outputs are measured in: about 2° of a turn (0.01 of 180°), 7 and 11 crop units, 0.1 of the
eye-aspect ratio."""
_SWAY = (((2.4, 3.2), (3.0, 0.8)), ((1.5, 2.6), (2.4, 0.7)), ((1.4, 3.0), (1.8, 0.8)))
"""Of yaw, pitch and roll: degrees, and seconds of the window that smooths the noise, of a slow and of a quick part."""
_IN_SILENCE = 0.35
"""Share of the movement that is left in long silence."""
_RARE, _SLOPE, _FADE, _REACH = 2.25, 0.25, 0.08, 3
"""How large noise must be for a blink, how sharply it decides, how lids open again, and frames to either side."""
_SHUT_WEIGHT = 4.0
_TX_PER_YAW, _TX_PER_ROLL, _TY_PER_PITCH = 0.36, 0.15, 0.7
"""Units of the 120-pixel crop per degree: measured on 30 renders turned about the neck."""


def head_track(noise: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """The track that noise [F, at least 7] stands for, where `speaking` [F] says 0 (silence) to 1: pose [F, 6] as a
    departure, and blink as a weight of the lids [F, 2]."""
    lively = _IN_SILENCE + (1 - _IN_SILENCE) * np.convolve(
        np.pad(speaking, 12, "edge"), np.ones(25) / 25, "valid"
    )
    angles = np.zeros((len(noise), 3))
    for axis, parts in enumerate(_SWAY):
        for part, (degrees, seconds) in enumerate(parts):
            angles[:, axis] += degrees * _smooth(noise[:, 1 + 2 * axis + part], seconds)
    angles *= lively[:, None]
    pose = np.zeros((len(noise), 6))
    pose[:, :3] = angles
    pose[:, 4] = _TX_PER_YAW * angles[:, 0] + _TX_PER_ROLL * angles[:, 2]
    pose[:, 5] = _TY_PER_PITCH * angles[:, 1]
    shifts = range(-_REACH, _REACH + 1)
    reach = np.stack([np.roll(noise[:, 0], shift) - _FADE * abs(shift) for shift in shifts]).max(0)
    lids = np.clip((reach - _RARE) / _SLOPE, 0, 1)
    return np.concatenate([pose, np.repeat(lids[:, None], 2, axis=1)], axis=1)


def _smooth(noise: np.ndarray, seconds: float) -> np.ndarray:
    """Moving average by a Hann window of that length, of unit deviation for white noise, [F]."""
    window = np.hanning(2 * int(seconds * 25) + 3)
    full = np.convolve(noise, window / np.sqrt((window**2).sum()))
    return full[len(window) // 2 :][: len(noise)]


class Tracks:
    """Random stretches of speech, as the trained encoder hears it, with a made track."""

    @torch.no_grad()
    def __init__(self, encoder: nn.Module, rng: np.random.Generator):
        self.heard = []
        for speech, phones in recordings().values():
            speech, _ = with_pauses(rng, speech, phones)
            self.heard.append(encoder.encode(torch.from_numpy(speech), len(speech) * FPS // RATE))

    def batch(
        self, rng: np.random.Generator, clips: int, z_dim: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Articulation [B, F, 19], noise [B, F, z_dim], first state [B, 8] and departure from it [B, F, 8]."""
        made = [self._one(rng, z_dim) for _ in range(clips)]
        return tuple(torch.stack(part) for part in zip(*made, strict=True))

    def _one(self, rng: np.random.Generator, z_dim: int):
        parts, length = [], 0
        while length < _FRAMES:
            parts.append(self.heard[rng.integers(len(self.heard))])
            length += len(parts[-1])
        articulation = torch.cat(parts)[:_FRAMES]
        silence = mouth_of(articulation)[2][:, -1]
        noise = rng.normal(size=(_FRAMES, z_dim))
        track = torch.from_numpy(head_track(noise, 1 - silence.numpy())).float()
        pose = torch.tensor([*rng.normal(0, (9, 6, 4)), 5e-4, *rng.normal((60, 67), 3)]).float()
        opened = rng.uniform(0.25, 0.38, 2)
        ratio = torch.from_numpy(eye_ratio(opened, track[:, 6:].numpy()) - opened).float()
        first = torch.cat([normalise_pose(pose), torch.from_numpy(opened).float()])
        departure = torch.cat([normalise_pose(pose + track[:, :6]) - normalise_pose(pose), ratio], dim=1)
        return articulation, torch.from_numpy(noise).float(), first, departure


def track_error(made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Of pose and of blink, [B, F, 8] in comparable units; closed lids count more, they are rare."""
    error = (made - truth).square()
    shut = 1 + _SHUT_WEIGHT * (truth[..., 6:].abs() > 0.5)
    return error[..., :6].mean(), (error[..., 6:] * shut).mean()


def train(options: argparse.Namespace) -> Progress:
    made = new_networks(options.seed)
    encoder, network = made["audio_encoder"], made["motion.0"]
    saved = folded(torch.load(options.speech, map_location="cpu", weights_only=True)["average"])
    encoder.load_state_dict({key.removeprefix("audio_encoder."): value for key, value in saved.items()})
    nn.init.zeros_(network.output.bias)
    nn.init.normal_(network.output.weight, std=0.003)  # a hundredth of the range of poses is already 2°
    progress = Progress(nn.ModuleDict({"motion": network}), options.out, options.rate, options.steps)
    tracks = Tracks(encoder, np.random.default_rng([options.seed, 6]))
    rng = np.random.default_rng([options.seed, 3, progress.step])
    torch.manual_seed(options.seed + progress.step)
    units = torch.tensor(_UNITS)

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        audio, noise, first, truth = tracks.batch(rng, options.batch, network.config.z_dim)
        pose, blink = track_error(network(audio, first, noise) / units, truth / units)
        return pose + blink, {"pose": pose, "blink": blink}

    progress.run(step)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 2500, 16, 2e-3)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
