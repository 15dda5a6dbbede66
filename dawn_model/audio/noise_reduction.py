"""A spectrogram with less of the noise that never falls silent: fans, hiss, traffic.

Spectral subtraction (Boll 1979, "Suppression of Acoustic Noise in Speech Using Spectral Subtraction", IEEE Transactions
on Acoustics, Speech, and Signal Processing 27, section II) with the noise found as what is least in each band for some
seconds (Martin 2001, "Noise Power Spectral Density Estimation Based on Optimal Smoothing and Minimum Statistics", IEEE
Transactions on Speech and Audio Processing 9, section III).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK, _REACH = 25, 16
"""Mel frames (a quarter of a second) whose mean is one estimate, and blocks before and after (four seconds) of which
the least one counts: who speaks longer without a gap in any band is taken for noise."""
_OVER, _FLOOR = 2.0, 0.15
"""The least mean is less than the noise's own, so it is taken off twice; what is left of a band (-8 dB) keeps the
holes between from sounding like tones."""
_SMOOTHED = 5
_SILENT = 1e-6
"""Beside the loudest frame: a block that holds digital silence was muted, and says nothing about the noise."""
NOISE_FRAMES = _BLOCK * (_REACH + 2)
"""A frame's result depends on no frame that is further away than this, but for the loudest of the whole sound."""


def without_noise(energy: Tensor) -> Tensor:
    """Energies [T, bands] of 100 frames a second → the same, each times a gain of at least .15.

    Memory and time grow linearly with T.
    """
    x = energy.T[None]
    frames = x.shape[-1]
    if not frames:
        return energy
    whole = F.pad(x, (0, -frames % _BLOCK), mode="replicate")
    loudness = whole.sum(1, keepdim=True)
    muted = -F.max_pool1d(-loudness, _BLOCK) < _SILENT * loudness.max()
    blocks = torch.where(muted, torch.inf, F.avg_pool1d(whole, _BLOCK))
    around = F.pad(-blocks, (_REACH, _REACH), value=-torch.inf)
    noise = -F.max_pool1d(around, 2 * _REACH + 1, stride=1)
    noise = torch.where(noise.isinf(), 0.0, noise)
    noise = F.interpolate(noise, scale_factor=_BLOCK, mode="linear")[..., :frames]
    half = _SMOOTHED // 2
    smooth = F.avg_pool1d(F.pad(x, (half, half), mode="replicate"), _SMOOTHED, stride=1)
    gain = 1 - _OVER * noise / smooth.clamp(min=1e-20)
    return (x * gain.clamp(min=_FLOOR))[0].T
