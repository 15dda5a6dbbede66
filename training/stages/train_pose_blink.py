"""Stage 6: the pose/blink network learns how heads and lids move while their owner speaks.

Its targets are made, not recorded, and they are made *of the network's own noise*: smoothed, it is how the head
sways (more while it speaks, with a nod on loud syllables); where it is rare and large, the lids close, a little more
readily in pauses. So every performance has one right answer, plain regression suffices, and noise is what tells two
performances apart. (Trained by the energy score on tracks with noise of their own, the network swayed a little and
never blinked.)

    python -m training.stages.train_pose_blink --steps 1500
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.audio.mel_encoder import COLUMNS_PER_FRAME, loudness, normalise
from dawn_model.head_motion.generate import normalise_pose

from ..clips.scenario import Utterances, eye_ratio
from ..paths import WORK
from .initial import new_networks
from .progress import Progress
from .train_hearing import CHECKPOINT as HEARING

CHECKPOINT = WORK / "pose_blink.pt"
_FRAMES = 120
_UNITS = (0.01, 0.01, 0.01, 0.02, 0.01, 0.01, 0.1, 0.1)
"""What the eight outputs are measured in: about 2° of a turn (0.01 of 180°), 7 and 11 crop units, 0.1 of the
eye-aspect ratio."""
_SWAY = ((3.0, 1.2), (1.6, 1.0), (1.2, 1.2))
"""Degrees of yaw, pitch and roll, and seconds of the window that smooths the noise of each."""
_RARE, _SLOPE, _FADE = 2.2, 0.35, 0.12
"""How large noise must be for a blink (once in four seconds), how sharply it decides, and how lids open again."""
_SHUT_WEIGHT = 4.0
_TX_PER_YAW, _TX_PER_ROLL, _TY_PER_PITCH = 0.36, 0.15, 0.7
"""Units of the 120-pixel crop per degree: measured on 30 renders turned about the neck."""


def head_track(noise: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """The track that noise [F, at least 4] stands for, with speech of the given energy per frame [F] (0 silent, 1
    loud): pose [F, 6] as a departure, and blink as a weight of the lids [F, 2]."""
    accent = np.convolve(energy, np.hanning(9) / np.hanning(9).sum(), "same")
    lively = 0.4 + 0.6 * np.convolve(accent, np.ones(25) / 25, "same")
    angles = np.stack(
        [degrees * _smooth(noise[:, 1 + axis], seconds) for axis, (degrees, seconds) in enumerate(_SWAY)],
        axis=1,
    )
    angles = angles * lively[:, None]
    angles[:, 1] += 2.0 * (accent - 0.4)
    pose = np.zeros((len(noise), 6))
    pose[:, :3] = angles
    pose[:, 4] = _TX_PER_YAW * angles[:, 0] + _TX_PER_ROLL * angles[:, 2]
    pose[:, 5] = _TY_PER_PITCH * angles[:, 1]
    readiness = noise[:, 0] + 0.3 * (1 - accent)
    reach = np.stack([np.roll(readiness, shift) - _FADE * abs(shift) for shift in range(-2, 3)]).max(0)
    lids = np.clip((reach - _RARE) / _SLOPE, 0, 1)
    return np.concatenate([pose, np.repeat(lids[:, None], 2, axis=1)], axis=1)


def _smooth(noise: np.ndarray, seconds: float) -> np.ndarray:
    """Moving average by a Hann window of that length, of unit deviation for white noise, [F]."""
    window = np.hanning(2 * int(seconds * 25) + 3)
    return np.convolve(noise, window / np.sqrt((window**2).sum()), "same")


class Tracks:
    """Random stretches of speech with a made track."""

    def __init__(self, device: str):
        self.utterances, self.device = Utterances.load(), device

    def batch(
        self, rng: np.random.Generator, clips: int, z_dim: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sound [B, 4·F, bands], noise [B, F, z_dim], first state [B, 8] and departure from it [B, F, 8]."""
        made = [self._one(rng, z_dim) for _ in range(clips)]
        return tuple(torch.stack(part).to(self.device) for part in zip(*made, strict=True))

    def _one(self, rng: np.random.Generator, z_dim: int):
        energies = torch.from_numpy(
            self.utterances.energies[rng.integers(len(self.utterances.energies))]
        ).float()
        mel = normalise(energies, loudness(energies))
        start = int(rng.integers(max(1, len(mel) - COLUMNS_PER_FRAME * _FRAMES + 1)))
        mel = mel[start : start + COLUMNS_PER_FRAME * _FRAMES]
        mel = nn.functional.pad(mel.T, (0, COLUMNS_PER_FRAME * _FRAMES - len(mel)), value=-2.5).T
        energy = ((mel.mean(1).reshape(_FRAMES, -1).mean(1) + 1) / 2).clamp(0, 1)
        noise = rng.normal(size=(_FRAMES, z_dim))
        track = torch.from_numpy(head_track(noise, energy.numpy())).float()
        pose = torch.tensor([*rng.normal(0, (9, 6, 4)), 5e-4, *rng.normal((60, 67), 3)]).float()
        opened = rng.uniform(0.25, 0.38, 2)
        ratio = (
            torch.from_numpy(eye_ratio(opened, track[:, 6:].numpy())).float()
            - torch.from_numpy(opened).float()
        )
        first = torch.cat([normalise_pose(pose), torch.from_numpy(opened).float()])
        departure = torch.cat([normalise_pose(pose + track[:, :6]) - normalise_pose(pose), ratio], dim=1)
        return mel, torch.from_numpy(noise).float(), first, departure


def track_error(made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Of pose and of blink, [B, F, 8] in comparable units; closed lids count more, they are rare."""
    error = (made - truth).square()
    shut = 1 + _SHUT_WEIGHT * (truth[..., 6:].abs() > 0.5)
    return error[..., :6].mean(), (error[..., 6:] * shut).mean()


def train(options: argparse.Namespace) -> Progress:
    made = new_networks(options.seed)
    hearing = made["audio_encoder"].to(options.device).requires_grad_(False)
    saved = torch.load(options.hearing, map_location=options.device, weights_only=True)["average"]
    prefix = "audio_encoder."
    hearing.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)})
    network = made["motion.0"].to(options.device)
    nn.init.zeros_(network.output.bias)
    nn.init.normal_(network.output.weight, std=0.003)  # a hundredth of the range of poses is already 2°
    progress = Progress(
        nn.ModuleDict({"motion": network}), options.out, options.minutes, options.rate, options.steps
    )
    tracks, rng = Tracks(options.device), np.random.default_rng([options.seed, 3, progress.step])
    torch.manual_seed(options.seed + progress.step)
    units = torch.tensor(_UNITS, device=options.device)
    while progress.unfinished:
        mel, noise, first, truth = tracks.batch(rng, options.batch, network.config.z_dim)
        with torch.no_grad():
            audio = hearing(mel)
        pose, blink = track_error(network(audio, first, noise) / units, truth / units)
        progress.update(pose + blink, pose=pose, blink=blink)
        progress.report(50)
        if progress.step % 500 == 0:
            progress.save()
    progress.save()
    return progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hearing", type=Path, default=HEARING)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
