"""A stranger's sound becomes ours: checked, described and brought to one form here and nowhere else."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .downmix import to_stereo
from .waveform import resample

log = logging.getLogger(__name__)

LOWEST_RATE, HIGHEST_RATE = 2000, 768000
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Rates that the sound of a video file can have."""
_LOUDEST = 8.0
"""Samples beyond this are no sound in -1..1, however loud."""
_MOST_CHANNELS = 8
_SIXTEEN_BITS = 32768
_ADVICE = "Load a sound with Load Audio"


@dataclass(frozen=True)
class Sound:
    """waveform [channels, samples] float32, about -1..1; rate in samples a second."""

    waveform: Tensor
    rate: int


def to_sound(audio: Any, name: str = "audio") -> Sound:
    """AUDIO of any node → one sound.

    Core's AUDIO is {"waveform": [1, channels, samples], "sample_rate": rate}. Arrays, waveforms without batch or
    channels, whole-number samples and rates as text are understood.

    Raises:
        ValueError: that begins with the input's name and says what came and what is expected.
    """
    if audio is None:
        raise ValueError(f"{name}: nothing arrived. The file may have no sound track; load one that has")
    if not isinstance(audio, Mapping):  # core's lazy sounds are mappings, too
        raise ValueError(f"{name}: expected a sound, and a {type(audio).__name__} arrived. {_ADVICE}")
    missing = [key for key in ("waveform", "sample_rate") if key not in audio]
    if missing:
        raise ValueError(f"{name}: the sound has no {' and no '.join(missing)}. {_ADVICE}")
    return Sound(_waveform(audio["waveform"], name), _rate(audio["sample_rate"], name))


def _rate(value: Any, name: str) -> int:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(
            f"{name}: its sample rate is {value!r}; a sound has {LOWEST_RATE} to {HIGHEST_RATE} samples a second. "
            f"{_ADVICE}"
        )
    return round(rate)


def _waveform(value: Any, name: str) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))
    if not isinstance(value, Tensor) or value.is_complex() or value.is_meta:
        raise ValueError(f"{name}: its waveform is a {type(value).__name__}, expected a tensor. {_ADVICE}")
    shape = list(value.shape)
    if value.ndim == 3 and len(value) != 1:
        raise ValueError(
            f"{name}: a batch of {len(value)} sounds arrived; DAWN speaks one at a time. Send them one by one"
        )
    if not 1 <= value.ndim <= 3:
        raise ValueError(
            f"{name}: its waveform has shape {shape}, expected [1, channels, samples]. {_ADVICE}"
        )
    if 0 in shape:
        raise ValueError(
            f"{name}: the audio is empty: it has no samples. Load a sound file with speech in it"
        )
    waveform = value[0] if value.ndim == 3 else value.reshape(-1, shape[-1])
    if waveform.shape[1] <= _MOST_CHANNELS < waveform.shape[0]:
        waveform = waveform.T  # [samples, channels], as soundfile reads them
    if not waveform.is_floating_point():
        waveform = _from_integers(waveform)
    waveform = waveform.float()
    if not waveform.isfinite().all():
        broken = int((~waveform.isfinite()).sum())
        raise ValueError(
            f"{name}: the audio holds {broken} samples that are not numbers (NaN or infinite). Load a sound file "
            "with speech in it"
        )
    loudest = float(waveform.abs().max())
    if loudest > _LOUDEST:
        raise ValueError(
            f"{name}: its samples reach {loudest:.4g}, expected -1 to 1. Divide by the largest number they can have "
            "(32768 for 16 bits)"
        )
    return waveform


def _from_integers(samples: Tensor) -> Tensor:
    """Whole numbers to -1..1 by what their type holds, unsigned ones being silent in the middle; 16 bits in a wider
    type are what they are: as 32 bits nobody would hear them."""
    if samples.dtype == torch.bool:
        return samples.float()
    limits, samples = torch.iinfo(samples.dtype), samples.double()
    if limits.min == 0:
        middle = (limits.max + 1) / 2
        return (samples - middle) / middle
    loudest = float(samples.abs().max())
    return samples / (_SIXTEEN_BITS if limits.bits > 16 and loudest <= _SIXTEEN_BITS else -limits.min)


def for_video(waveform: Tensor, rate: int) -> tuple[Tensor, int]:
    """A sound [channels, samples] as the AAC track of a video file takes it: mono or stereo, at one of its rates.

    Left as it is where it fits; said in the log where not.
    """
    channels = len(waveform)
    if channels > 2:
        waveform = to_stereo(waveform)
        log.info("DAWN: the sound's %d channels are mixed to stereo for the video", channels)
    if rate not in AAC_RATES:
        target = next((known for known in AAC_RATES if known >= rate), AAC_RATES[-1])
        waveform = torch.stack([resample(channel, rate, target) for channel in waveform])
        log.info("DAWN: the sound's rate of %d Hz becomes %d Hz, which a video file can hold", rate, target)
        rate = target
    return waveform, rate
