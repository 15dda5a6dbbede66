"""The speech encoder of the embedded model: speech → how a mouth articulates it, one row per video frame.

It stands where HuBERT stands in the authors' models. The first layers of Whisper hear; a readout of three convolutions,
trained on phones of real speech, says what that means for a mouth (`articulation.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import WhisperConfig
from .noise_reduction import without_noise
from .whisper import MEL_PER_TOKEN, WhisperLayers, log_mel, mel_energy

TOKENS_PER_FRAME = 2
MEL_PER_FRAME = TOKENS_PER_FRAME * MEL_PER_TOKEN
WINDOW_FRAMES, CONTEXT_FRAMES = 400, 50
"""Video frames that are encoded at once, and how many more are heard before and after them.

Whisper knows 30 seconds of positions. Windows lie on a fixed grid, so a frame's features do not depend on how long the
sound goes on, and time and memory grow linearly with it.
"""

_LEAST_PEAK, _MOST_GAIN = 0.1, 100.0
"""Quieter recordings are raised to this, by no more than that: the spectrogram ends at a fixed energy, below which the
quiet parts of a recording 35 dB too low would be lost, and with them a tenth of what its lips do."""


class SpeechEncoder(nn.Module):
    """Speech → articulation."""

    def __init__(self, config: WhisperConfig, operations=nn, **factory):
        super().__init__()
        self.config = config
        width = config.readout_width
        self.whisper = WhisperLayers(config, operations, **factory)
        self.readout1 = operations.Conv1d(TOKENS_PER_FRAME * config.width, width, 1, **factory)
        self.readout2 = operations.Conv1d(width, width, 5, padding=2, **factory)
        self.readout3 = operations.Conv1d(width, config.features, 1, **factory)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel spectrogram [B, bands, 4·F] → articulation [B, F, features]."""
        return self.read(self.listen(mel))

    def listen(self, mel: Tensor) -> Tensor:
        """Log-mel spectrogram [B, bands, 4·F] → hidden states, two in a row, [B, F, 2·C]."""
        return self.whisper(mel).unflatten(1, (-1, TOKENS_PER_FRAME)).flatten(2)

    def read(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, F, 2·C] → articulation [B, F, features]."""
        x = F.gelu(self.readout1(hidden.transpose(1, 2)))
        x = F.gelu(self.readout2(x))
        return self.readout3(x).transpose(1, 2)

    def spectrogram(self, speech: Tensor) -> Tensor:
        """Speech [T] at 16 kHz → what Whisper's layers get of it, [bands, T / 160]."""
        gain = (_LEAST_PEAK / speech.abs().max().clamp(min=1e-9)).clamp(1.0, _MOST_GAIN)
        return log_mel(without_noise(mel_energy(gain * speech, self.config.mel_bands)))

    def encode(self, speech: Tensor, frames: int) -> Tensor:
        """Speech [T] at 16 kHz → one row for each of `frames` video frames, [frames, features].

        Ends with silence where the sound is shorter than the video.
        """
        mel = self.spectrogram(speech)
        mel = F.pad(mel, (0, max(0, frames * MEL_PER_FRAME - mel.shape[1])), value=float(mel.min()))
        dtype = self.readout3.weight.dtype
        rows = []
        for first in range(0, frames, WINDOW_FRAMES):
            begin, end = max(0, first - CONTEXT_FRAMES), min(frames, first + WINDOW_FRAMES + CONTEXT_FRAMES)
            part = mel[None, :, MEL_PER_FRAME * begin : MEL_PER_FRAME * end].to(dtype)
            rows.append(self(part)[0, first - begin : first - begin + WINDOW_FRAMES])
        return torch.cat(rows)[:frames]
