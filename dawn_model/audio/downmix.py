"""Channels of a sound → one for the speech encoder, or two for the video."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STRETCH, _AGAINST = 3, 0.5
"""Fiftieths of a second in which two channels are compared; the correlation below which one is the other,
turned round."""


def to_mono(waveform: Tensor, rate: int) -> Tensor:
    """[channels, samples] → [samples]: their mean, in which channels that run against the loudest one are turned round.

    Speech in opposite phase would cancel itself. Looked at in stretches of 60 ms, because films are cut from
    several recordings, and without rumble, which all channels may share.
    """
    signs = _signs(waveform, rate)
    return waveform.mean(0) if signs is None else (waveform * signs).mean(0)


def _signs(waveform: Tensor, rate: int) -> Tensor | None:
    """1, or -1 where a channel runs against the loudest one, [channels, samples], without steps; None: nowhere."""
    samples, block = waveform.shape[1], max(1, rate // 50)
    if len(waveform) == 1 or not waveform.isfinite().all():
        return None

    def blocks(channel: Tensor) -> Tensor:
        clean = without_rumble(channel, rate)
        return F.pad(clean, (0, -samples % block)).reshape(-1, block)

    def nearby(values: Tensor) -> Tensor:
        return F.avg_pool1d(values[None, None], _STRETCH, 1, _STRETCH // 2, count_include_pad=False)[0, 0]

    channels = [blocks(channel) for channel in waveform]
    powers = [channel.square().mean(1) for channel in channels]
    loudest = int(torch.stack([power.mean() for power in powers]).argmax())
    scale = [(nearby(powers[loudest]) * nearby(power)).sqrt().clamp(min=1e-12) for power in powers]
    shared = [nearby((channel * channels[loudest]).mean(1)) for channel in channels]
    against = torch.stack(shared) < -_AGAINST * torch.stack(scale)
    if not against.any():
        return None
    signs = 1 - 2 * against.to(waveform).repeat_interleave(block, dim=1)[:, :samples]
    padded = F.pad(signs, (block // 2, block // 2), mode="replicate")
    return F.avg_pool1d(padded[None], 2 * (block // 2) + 1, 1)[0]


def without_rumble(signal: Tensor, rate: int) -> Tensor:
    """A signal [T] without direct current, hum and rumble, for measuring speech: -47 dB at 50 Hz, -12 dB at 150 Hz.

    Its means over 4 ms are taken off, twice.
    """
    half = max(1, round(rate * 0.002))
    for _ in range(2):
        padded = F.pad(
            signal[None, None], (half, half), mode="replicate" if len(signal) > half else "constant"
        )
        signal = signal - F.avg_pool1d(padded, 2 * half + 1, stride=1)[0, 0]
    return signal


def to_stereo(waveform: Tensor) -> Tensor:
    """Surround by the usual weights (ITU-R BS.775): front, centre and what is beside and behind of a side; other
    layouts to both sides."""
    if len(waveform) not in (5, 6, 8):
        return waveform.mean(0, keepdim=True).expand(2, -1)
    left, right, centre = waveform[:3]
    around = waveform[4:] if len(waveform) > 5 else waveform[3:]
    mixed = torch.stack(
        [left + 0.71 * (centre + around[0::2].sum(0)), right + 0.71 * (centre + around[1::2].sum(0))]
    )
    return mixed / max(1.0, float(mixed.abs().max()))
