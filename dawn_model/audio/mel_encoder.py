"""The small speech encoder of the embedded model: log energies in mel bands and a few convolutions.

It stands where HuBERT stands in the authors' models: speech in, one row of features per video frame out.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import MelConfig
from .waveform import SPEECH_RATE

HOP = 160
"""Samples from one column of energies to the next: 100 a second, four per video frame."""

COLUMNS_PER_FRAME = 4
_WINDOW, _FFT = 400, 512
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 7600.0
_FLOOR = 1e-7
"""Energy of silence, for samples in -1..1."""

_LOUDNESS_QUANTILE = 0.95
_QUIETEST_REFERENCE = -9.0
_SPREAD = 3.0


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


@functools.cache
def _filter_bank(bands: int) -> Tensor:
    """Triangles that overlap by half, evenly spaced in mel, each with unit sum: [257, bands]."""
    frequencies = torch.linspace(0, SPEECH_RATE / 2, _FFT // 2 + 1, dtype=torch.float64)
    scale = 2595 * torch.log10(1 + frequencies / 700)
    edges = torch.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), bands + 2, dtype=torch.float64)
    rise = (scale[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - scale[:, None]) / (edges[2:] - edges[1:-1])
    bank = torch.minimum(rise, fall).clamp(min=0)
    return (bank / bank.sum(0).clamp(min=1e-9)).float()


def log_mel(speech: Tensor, bands: int = 40) -> Tensor:
    """Speech [T] at 16 kHz → natural log of the energy in each mel band, [ceil(T / 160), bands].

    Column k is centred on sample 160·k + 80; silence stands at log 1e-7.
    """
    columns = -(-speech.shape[0] // HOP)
    left = (_WINDOW - HOP) // 2
    padded = F.pad(speech, (left, columns * HOP + _WINDOW - HOP - left - speech.shape[0]))
    frames = padded.unfold(0, _WINDOW, HOP) * torch.hann_window(_WINDOW, device=speech.device)
    energy = torch.fft.rfft(frames, _FFT).abs().square() / _WINDOW
    return (energy @ _filter_bank(bands).to(energy) + _FLOOR).log()


def loudness(energies: Tensor) -> Tensor:
    """How loud the loud parts of a clip are: the 95 % quantile of the mean log energy, a scalar.

    Not less than -9, so that the noise of a silent recording is not mistaken for speech.
    """
    return energies.mean(-1).quantile(_LOUDNESS_QUANTILE).clamp(min=_QUIETEST_REFERENCE)


def normalise(energies: Tensor, reference: Tensor) -> Tensor:
    """Log energies → about 1 where the clip is loud and −2 where it is silent."""
    return ((energies - reference) / _SPREAD + 1).clamp(-2.5, 2.5)


class MelEncoder(nn.Module):
    """Normalised log energies at 100 Hz → features at 25 Hz."""

    def __init__(self, config: MelConfig, operations=nn, **factory):
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = operations.Conv1d(config.bands, width, 5, stride=2, padding=2, **factory)
        self.conv2 = operations.Conv1d(width, width, 5, stride=2, padding=2, **factory)
        self.blocks = nn.ModuleList(
            operations.Conv1d(width, width, 5, padding=2, **factory) for _ in range(config.blocks)
        )
        self.output = operations.Linear(width, config.features, **factory)

    def forward(self, energies: Tensor) -> Tensor:
        """energies [B, 4·F, bands], from `normalise` → [B, F, features]."""
        x = energies.transpose(1, 2)
        x = F.silu(self.conv1(x))
        x = F.silu(self.conv2(x))
        for block in self.blocks:
            x = x + F.silu(block(x))
        return self.output(x.transpose(1, 2))

    def encode(self, speech: Tensor, frames: int) -> Tensor:
        """Speech [T] at 16 kHz → one row for each of `frames` video frames, [frames, features].

        Ends with silence where the sound is shorter than the video.
        """
        energies = log_mel(speech.float(), self.config.bands)
        columns = frames * COLUMNS_PER_FRAME
        reference = loudness(energies)
        energies = F.pad(energies[:columns].T, (0, max(0, columns - len(energies))), value=math.log(_FLOOR)).T
        return self(normalise(energies, reference)[None])[0]
