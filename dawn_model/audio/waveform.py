"""Sound on its way to speech features and back: one 16 kHz channel in, one feature row per video frame out.

Everything here is arithmetic; the speech encoder itself is in hubert.py (docs/model.md, "Speech features").
"""

from __future__ import annotations

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import FPS
from .downmix import to_mono

log = logging.getLogger(__name__)

SPEECH_RATE = 16000
"""Samples a second of what the speech encoder takes."""

HIDDEN_STRIDE = 320
"""Samples from one hidden frame of the encoder to the next: 50 a second."""

RECEPTIVE_FIELD = 400
"""Samples that one hidden frame is made from."""

CLIP_HIDDEN_FRAMES = 1000
"""The encoder takes 20 seconds at a time."""


def frame_count(samples: int, rate: int) -> int:
    """Whole video frames in a sound of `samples` at `rate` Hz, and one frame for anything shorter.

    Exact integer arithmetic: upstream's floating point loses a frame at some exact lengths
    (29, 57, 58, … frames). Never further than one frame from the duration.

    Raises ValueError for a sound without samples or without a rate.
    """
    if samples <= 0:
        raise ValueError("the audio is empty: it has no samples")
    if rate <= 0:
        raise ValueError(f"the audio has a sample rate of {rate} Hz")
    return max(1, samples * FPS // rate)


def to_speech(waveform: Tensor, rate: int) -> Tensor:
    """Any sound [C, T] → one channel at 16 kHz, [T'], float32.

    Channels are averaged (upstream takes the left one alone); see `to_mono`. A sound shorter than one
    video frame (40 ms) is followed by silence up to that length, because the encoder needs
    400 samples for its first hidden frame.

    Raises ValueError for an empty sound, a wrong shape, or values that are not finite.
    """
    if waveform.ndim != 2:
        raise ValueError(f"expected a waveform [channels, samples], got shape {list(waveform.shape)}")
    if waveform.numel() == 0:
        raise ValueError("the audio is empty: it has no samples")
    mono = to_mono(waveform.float(), rate)
    if not mono.isfinite().all():
        broken = int((~waveform.isfinite()).sum())
        raise ValueError(f"the audio holds {broken} samples that are not numbers (NaN or infinite)")
    speech = resample(mono, rate, SPEECH_RATE)
    return F.pad(speech, (0, max(0, SPEECH_RATE // FPS - speech.shape[0])))


def resample(signal: Tensor, rate: int, target_rate: int) -> Tensor:
    """Change the sample rate of a signal [T] with a band-limited filter (SoX resampler, high quality).

    Raises ValueError for a rate that is not positive.
    """
    if rate <= 0:
        raise ValueError(f"the audio has a sample rate of {rate} Hz")
    if rate == target_rate:
        return signal
    samples = signal.cpu().numpy()
    try:
        import librosa  # takes over a second to import

        resampled = librosa.resample(
            samples, orig_sr=rate, target_sr=target_rate, res_type="soxr_hq", scale=False
        )
    except (ImportError, AttributeError, SystemError) as error:  # a numba that does not fit numpy, for one
        log.info("DAWN: librosa can not be loaded (%s); soxr, which it calls, resamples alike", error)
        resampled = _resample_without_librosa(samples, rate, target_rate)
    return torch.from_numpy(resampled).to(signal)


def _resample_without_librosa(samples: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """The same numbers by soxr alone.

    Raises ValueError that names the package to repair when that can not be loaded either.
    """
    try:
        import soxr
    except ImportError as error:
        raise ValueError(
            f"audio: a sound at {rate} Hz has to become one at {target_rate} Hz, and the package soxr that does it can "
            f"not be loaded ({error}). Install it again: pip install --force-reinstall soxr"
        ) from error
    return soxr.resample(samples, rate, target_rate, "HQ")


def normalise(signal: Tensor) -> Tensor:
    """Zero mean and unit variance over the whole signal, as the encoder was trained; silence stays silent."""
    variance, mean = torch.var_mean(signal, correction=0)
    return (signal - mean) / torch.sqrt(variance + 1e-7)


def split_clips(samples: int) -> list[tuple[int, int]]:
    """Where to cut a 16 kHz signal for the encoder: (start, stop) of clips of 20 seconds.

    Clips overlap by the 80 samples that complete the last hidden frame, so the hidden frames
    of all clips continue each other without a gap or a repetition; no clip has context from another.

    Raises ValueError when the signal is too short for a single hidden frame.
    """
    if samples < RECEPTIVE_FIELD:
        raise ValueError(
            f"{samples} samples are too short for the speech encoder, which needs {RECEPTIVE_FIELD}"
        )
    step = CLIP_HIDDEN_FRAMES * HIDDEN_STRIDE
    overlap = RECEPTIVE_FIELD - HIDDEN_STRIDE
    starts = range(0, samples - RECEPTIVE_FIELD + 1, step)
    return [(start, min(start + step + overlap, samples)) for start in starts]


def to_video_rate(hidden: Tensor, frames: int) -> Tensor:
    """Hidden states [T, D] → one row for each of `frames` video frames, [frames, D].

    Linear interpolation from the first hidden frame to the last, both included: row k lies
    at k·(T−1)/(frames−1). A single hidden frame is held (undefined upstream).
    """
    steps, gaps = hidden.shape[0] - 1, max(1, frames - 1)
    position = torch.arange(frames) * steps  # in units of 1/gaps hidden frames, so that it is exact
    before = (position // gaps).clamp(max=steps)
    fraction = (position % gaps).double() / gaps
    after = (before + 1).clamp(max=steps)
    rows = [index.to(hidden.device) for index in (before, after)]
    return torch.lerp(hidden[rows[0]], hidden[rows[1]], fraction.to(hidden)[:, None])


def samples_until(frames: int, rate: int) -> int:
    """Samples in the first `frames` video frames, rounded to the nearest where that is no whole number."""
    return (2 * frames * rate + FPS) // (2 * FPS)


def align_waveform(waveform: Tensor, rate: int, frames: int) -> Tensor:
    """Cut or continue with silence a sound [..., T] so that it lasts exactly `frames` video frames.

    Rate and channels stay.
    """
    samples = samples_until(frames, rate)
    return F.pad(waveform[..., :samples], (0, max(0, samples - waveform.shape[-1])))
