"""Stage 6: the pose/blink network learns how heads and lids move while their owner speaks.

Its targets are made, not recorded: pauses bring blinks and let the head settle, loud syllables nod it, and
slow drift does the rest. The network hears the trained speech encoder's features; its noise is its freedom
to differ. It is trained on the energy score (twice the distance to the truth minus the distance between two
of its own samples), which wants samples that scatter as the truth does, not their mean.

    python -m training.train_pose_blink --minutes 3 --device cuda
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.head_motion import normalise_pose
from dawn_model.mel_encoder import COLUMNS_PER_FRAME, loudness, normalise

from .initial import new_networks
from .paths import WORK
from .progress import Progress
from .scenario import Utterances, blink_curve, eye_ratio, smooth_noise
from .train_hearing import CHECKPOINT as HEARING

CHECKPOINT = WORK / "pose_blink.pt"
_FRAMES = 120
_UNITS = (0.01, 0.01, 0.01, 0.02, 0.01, 0.01, 0.1, 0.1)
"""What the eight outputs are measured in: about 2° of a turn (0.01 of 180°), 7 and 11 crop units, 0.1 of the
eye-aspect ratio."""
_TX_PER_YAW, _TX_PER_ROLL, _TY_PER_PITCH = 0.36, 0.15, 0.7
"""Units of the 120-pixel crop per degree: measured on 30 renders turned about the neck."""


def head_track(rng: np.random.Generator, energy: np.ndarray) -> np.ndarray:
    """A made track for speech of the given energy per frame [F] (0 silent, 1 loud): pose [F, 6] relative to
    the first frame, and blink as a weight of the lids [F, 2]."""
    frames = len(energy)
    accent = np.convolve(energy, np.hanning(9) / np.hanning(9).sum(), "same")
    angles = np.stack(
        [a * smooth_noise(rng, frames, s) for a, s in ((3.0, 1.6), (1.6, 1.4), (1.2, 1.8))], axis=1
    )
    angles *= 0.35 + 0.65 * np.convolve(accent, np.ones(25) / 25, "same")[:, None]
    angles[:, 1] += 2.0 * accent
    angles -= angles[0]
    pose = np.zeros((frames, 6))
    pose[:, :3] = angles
    pose[:, 4] = _TX_PER_YAW * angles[:, 0] + _TX_PER_ROLL * angles[:, 2]
    pose[:, 5] = _TY_PER_PITCH * angles[:, 1]
    blink = blink_curve(rng, frames, often=False)
    return np.concatenate([pose, np.repeat(blink.max(1, keepdims=True), 2, axis=1)], axis=1)


class Tracks:
    """Random stretches of speech with a made track."""

    def __init__(self, device: str):
        self.utterances, self.device = Utterances.load(), device

    def batch(self, rng: np.random.Generator, clips: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sound [B, 4·F, bands], first state [B, 8] and departure from it [B, F, 8], normalised."""
        made = [self._one(rng) for _ in range(clips)]
        return tuple(torch.stack(part).to(self.device) for part in zip(*made, strict=True))

    def _one(self, rng: np.random.Generator):
        energies = torch.from_numpy(
            self.utterances.energies[rng.integers(len(self.utterances.energies))]
        ).float()
        mel = normalise(energies, loudness(energies))
        start = int(rng.integers(max(1, len(mel) - COLUMNS_PER_FRAME * _FRAMES + 1)))
        mel = mel[start : start + COLUMNS_PER_FRAME * _FRAMES]
        mel = nn.functional.pad(mel.T, (0, COLUMNS_PER_FRAME * _FRAMES - len(mel)), value=-2.5).T
        energy = ((mel.mean(1).reshape(_FRAMES, -1).mean(1) + 1) / 2).clamp(0, 1)
        track = torch.from_numpy(head_track(rng, energy.numpy())).float()
        pose = torch.tensor([*rng.normal(0, (9, 6, 4)), 5e-4, *rng.normal((60, 67), 3)]).float()
        opened = rng.uniform(0.25, 0.38, 2)
        ratio = (
            torch.from_numpy(eye_ratio(opened, track[:, 6:].numpy())).float()
            - torch.from_numpy(opened).float()
        )
        first = torch.cat([normalise_pose(pose), torch.from_numpy(opened).float()])
        departure = torch.cat([normalise_pose(pose + track[:, :6]) - normalise_pose(pose), ratio], dim=1)
        return mel, first, departure


def energy_score(one: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Of two samples and the truth, [B, F, 8] in comparable units: over frames, over the change between
    neighbours and over whole tracks."""
    score = 0.0
    for view in (lambda x: x, lambda x: 3 * (x[:, 1:] - x[:, :-1])):
        a, b, t = view(one), view(other), view(truth)
        for group in (slice(0, 6), slice(6, 8)):
            near = ((a - t)[..., group].norm(dim=-1) + (b - t)[..., group].norm(dim=-1)) / 2
            score = score + (2 * near - (a - b)[..., group].norm(dim=-1)).mean()
    return score


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
        mel, first, truth = tracks.batch(rng, options.batch)
        with torch.no_grad():
            audio = hearing(mel)
        noise = torch.randn(2, *audio.shape[:2], network.config.z_dim, device=options.device)
        samples = [network(audio, first, z) / units for z in noise]
        progress.update(energy_score(*samples, truth / units), spread=(samples[0] - samples[1]).abs().mean())
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
