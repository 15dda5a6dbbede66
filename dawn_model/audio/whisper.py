"""The first layers of Whisper's encoder: log-mel spectrogram, two convolutions, transformer blocks.

Radford and others 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv 2212.04356, section 2.2.
Layer names follow the paper's terms; `training/speech/whisper_weights.py` converts the published weights.

Axis legend: B batch, T mel frames (100 a second), L tokens (50 a second), C width.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import WhisperConfig
from .waveform import SPEECH_RATE

HOP, WINDOW = 160, 400
"""Samples from one mel frame to the next, and samples that one is made from."""
MEL_PER_TOKEN = 2
_DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest moment at which the spectrogram is cut off."""


@functools.cache
def mel_filters(bands: int) -> Tensor:
    """Slaney's mel filter bank, triangles of equal area, [WINDOW / 2 + 1, bands].

    Linear below 1 kHz (66.7 Hz a mel), logarithmic above (27 mels a factor of 6.4).
    """
    top = 15 + 27 * math.log(SPEECH_RATE / 2 / 1000) / math.log(6.4)
    mels = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    edges = torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))
    frequencies = torch.linspace(0, SPEECH_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    rise = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return (torch.minimum(rise, fall).clamp(min=0) * 2 / (edges[2:] - edges[:-2])).float()


@functools.cache
def _fourier_basis() -> Tensor:
    """Real and imaginary part of the windowed discrete Fourier transform, [WINDOW, 2 · (WINDOW / 2 + 1)].

    A matrix product runs on every device; complex numbers and FFT do not.
    """
    time = torch.arange(WINDOW, dtype=torch.float64)
    phase = 2 * math.pi / WINDOW * time[:, None] * torch.arange(WINDOW // 2 + 1, dtype=torch.float64)
    hann = torch.hann_window(WINDOW, dtype=torch.float64)[:, None]
    return (torch.cat([phase.cos(), phase.sin()], dim=1) * hann).float()


def mel_energy(speech: Tensor, bands: int = 80) -> Tensor:
    """Speech [T'] at 16 kHz → energies in mel bands, [T' / 160, bands]."""
    padded = F.pad(speech.float()[None], (WINDOW // 2, WINDOW // 2), mode="reflect")[0]
    frames = padded.unfold(0, WINDOW, HOP)[: len(speech) // HOP]
    real, imaginary = (frames @ _fourier_basis().to(frames)).chunk(2, dim=1)
    return (real.square() + imaginary.square()) @ mel_filters(bands).to(frames)


def log_mel(energy: Tensor) -> Tensor:
    """Energies [T, bands] → log-mel spectrogram [bands, T], about -1 to 1.5.

    Relative to the loudest of the whole sound, so the recording's level does not matter.
    """
    log = energy.clamp(min=1e-10).log10()
    return ((torch.maximum(log, log.max() - _DYNAMIC_RANGE) + 4) / 4).T


def sinusoids(length: int, channels: int) -> Tensor:
    """Position embedding [length, channels]: sines, then cosines, of wavelengths from 2π to 10,000 · 2π."""
    scale = torch.exp(-math.log(10000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * scale
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class WhisperBlock(nn.Module):
    """Pre-norm transformer block with full self-attention."""

    def __init__(self, width: int, heads: int, operations=nn, **factory):
        super().__init__()
        self.heads = heads
        self.attention_norm = operations.LayerNorm(width, **factory)
        self.qkv = operations.Linear(width, 3 * width, **factory)
        self.attention_out = operations.Linear(width, width, **factory)
        self.mlp_norm = operations.LayerNorm(width, **factory)
        self.mlp1 = operations.Linear(width, 4 * width, **factory)
        self.mlp2 = operations.Linear(4 * width, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] → [B, L, C]."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.attention_out(attended)
        return x + self.mlp2(F.gelu(self.mlp1(self.mlp_norm(x))))


class WhisperLayers(nn.Module):
    """Log-mel spectrogram → hidden states after the first layers, normalised."""

    def __init__(self, config: WhisperConfig, operations=nn, **factory):
        super().__init__()
        width = config.width
        self.conv1 = operations.Conv1d(config.mel_bands, width, 3, padding=1, **factory)
        self.conv2 = operations.Conv1d(width, width, 3, stride=2, padding=1, **factory)
        self.blocks = nn.ModuleList(
            WhisperBlock(width, config.heads, operations, **factory) for _ in range(config.layers)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """[B, bands, T] → [B, T / 2, C]; T is even."""
        x = F.gelu(self.conv1(mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        x = x + sinusoids(x.shape[1], x.shape[2]).to(x)
        for block in self.blocks:
            x = block(x)
        return F.layer_norm(x, x.shape[-1:])
