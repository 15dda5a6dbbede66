"""What the speech encoder gets of pauses and of loudness. The sound of the video is never touched.

A recording's pauses hold breath, room and hum, and an encoder that gets something moves the mouth. The gate
gives it digital silence there instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .downmix import without_rumble
from .waveform import SPEECH_RATE

SPEECH_LEVEL = 0.1
"""RMS of the loud parts after `level`: -20 dB of full scale, about as loud as audio books are."""

_WINDOW, _HOP = 320, 80
_QUANTILE = 0.95
_FLOOR, _ABOVE_FLOOR, _LOUDEST_PAUSE = 0.1, 2.0, 0.35
"""The noise of a recording is what is heard in its quietest tenth; a pause is louder than that by 6 dB at most, and
never louder than 9 dB below the loud parts, for who speaks without a pause has no quiet tenth."""
_ABOVE_USUAL = 5.0
"""The loud parts of speech are 4 to 15 dB above the median of all that is spoken (51 recordings, two of them more
than 14); what is louder still is mostly something else."""
_UNHEARD = 1e-4
"""Beside the loud parts: digital silence is no noise."""
_INAUDIBLE = 1e-4
"""RMS (-80 dB of full scale) below which a stretch says nothing about how loud the speech is."""


def loudness(speech: Tensor) -> tuple[Tensor, float]:
    """Speech [T] at 16 kHz → RMS in windows of 20 ms every 5 ms [ceil(T / 80)], and that of the loud parts.

    Window k is centred on sample 80·k + 40. The loud parts are the 95 % quantile of what can be heard, but not what
    is far louder than most of that: a beep, a slammed door. 0 when nothing can be heard. Hum and rumble do not count.
    """
    speech = without_rumble(speech.float(), SPEECH_RATE)
    windows = -(-speech.shape[0] // _HOP)
    left = (_WINDOW - _HOP) // 2
    padded = F.pad(speech, (left, windows * _HOP + _WINDOW - _HOP - left - speech.shape[0]))
    rms = padded.unfold(0, _WINDOW, _HOP).square().mean(-1).sqrt()
    audible = rms[rms > _INAUDIBLE].sort().values
    if not len(audible):
        return rms, 0.0
    loud = float(audible[math.ceil(_QUANTILE * (len(audible) - 1))])
    between = math.sqrt(loud * float(audible[math.floor(_FLOOR * (len(audible) - 1))]))
    return rms, min(loud, _ABOVE_USUAL * float(audible[audible >= min(between, loud)].median()))


def noise_floor(rms: Tensor, loud: float) -> float:
    """RMS of the quietest tenth of what `loudness` found; 0 for silence."""
    return float(rms[rms > _UNHEARD * loud].quantile(_FLOOR)) if loud else 0.0


def level(speech: Tensor) -> Tensor:
    """Speech [T] at 16 kHz, as loud as audio books are; silence stays silence."""
    _, loud = loudness(speech)
    return speech * (SPEECH_LEVEL / loud) if loud else speech


@dataclass(frozen=True)
class SilenceGate:
    """threshold: how far below the loud parts a pause begins, in dB; less far where the recording's own noise is
    louder than that;

    attack: opens so long before speech begins, fading in; hold: stays open so long after it; in seconds.
    As the whole sound is known, nothing of the speech is lost: fades lie in the pauses.

    Raises ValueError for numbers that make no gate.
    """

    threshold: float = 30.0
    attack: float = 0.05
    hold: float = 0.2

    def __post_init__(self):
        for name in ("threshold", "attack", "hold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"silence_{name}: {value:g} is no amount; it must be 0 or more")

    def open_at(self, speech: Tensor) -> Tensor:
        """The gain at each sample of the speech [T], 0 in pauses and 1 in speech."""
        rms, loud = loudness(speech)
        noise = min(_ABOVE_FLOOR * noise_floor(rms, loud), _LOUDEST_PAUSE * loud)
        pause = max(loud * 10 ** (-self.threshold / 20), noise)
        speaks = (rms > pause) & (rms > 0)
        speaks = speaks.repeat_interleave(_HOP)[: speech.shape[0]]
        samples = torch.arange(speech.shape[0], device=speech.device)
        never = 2 * speech.shape[0] + 2 * int((self.attack + self.hold) * SPEECH_RATE)
        since = samples - torch.where(speaks, samples, -never).cummax(0).values
        until = torch.where(speaks, samples, never).flip(0).cummin(0).values.flip(0) - samples
        fade = max(1.0, self.attack * SPEECH_RATE)
        opening = 1 - until / fade
        closing = (self.hold * SPEECH_RATE - since) / fade + 1
        return torch.maximum(opening, closing).clamp(0, 1).to(speech.dtype)

    def __call__(self, speech: Tensor) -> Tensor:
        """Speech [T] at 16 kHz → the same with digital silence in its pauses."""
        return speech * self.open_at(speech)
