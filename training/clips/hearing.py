"""Speech and the mouth that goes with it, without pictures: far more of it than could be rendered."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dawn_model.audio.mel_encoder import COLUMNS_PER_FRAME, loudness, normalise

from ..speech.visemes import mouth_curves
from .augment import random_hearing
from .scenario import CONTEXT, Utterances

_SILENCE = -2.5


class Speeches:
    """Random stretches of all utterances."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = device
        utterances = Utterances.load()
        self.energies, self.curves = [], []
        for energies, phones in zip(utterances.energies, utterances.phones, strict=True):
            heard = torch.from_numpy(energies).float()
            self.energies.append(normalise(heard, loudness(heard)))
            self.curves.append(
                torch.from_numpy(mouth_curves(phones, len(heard) // COLUMNS_PER_FRAME)).float()
            )

    def batch(
        self, rng: np.random.Generator, count: int, frames: int, augment: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Normalised energies [count, 4·(frames + 2·CONTEXT), bands] and weights of the face units of speech
        [count, frames, units]; before and after an utterance it is silent."""
        heard, meant = zip(*(self._one(rng, frames, augment) for _ in range(count)), strict=True)
        return torch.stack(heard).to(self.device), torch.stack(meant).to(self.device)

    def _one(self, rng: np.random.Generator, frames: int, augment: bool) -> tuple[Tensor, Tensor]:
        number = int(rng.integers(len(self.energies)))
        energies, curves = self.energies[number], self.curves[number]
        start = int(rng.integers(-12, max(-11, len(curves) - frames + 12)))
        columns = COLUMNS_PER_FRAME * (frames + 2 * CONTEXT)
        heard = _stretch(energies, COLUMNS_PER_FRAME * (start - CONTEXT), columns, _SILENCE)
        return random_hearing(heard, rng) if augment else heard, _stretch(curves, start, frames, 0.0)


def _stretch(rows: Tensor, start: int, length: int, outside: float) -> Tensor:
    """rows[start : start + length] of [T, D], with `outside` where there are none."""
    result = rows.new_full((length, rows.shape[1]), outside)
    first, last = max(0, start), min(len(rows), start + length)
    if last > first:
        result[first - start : last - start] = rows[first:last]
    return result
