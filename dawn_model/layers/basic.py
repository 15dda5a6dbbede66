"""Small layers of the denoiser.

Axis legend for this package: B clips, F frames, N = B·F frames of all clips, H and W latent
rows and columns, P = H·W pixels, C channels, D features of one attention head.
Activations are [N, H, W, C], so linear layers need no transposition and convolutions see
the channels-last format that is fastest on CPUs and tensor cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-5


def cast_like(parameter: Tensor, x: Tensor) -> Tensor:
    """Raw parameters are not cast by the host's layers, so they follow the activation."""
    return parameter.to(device=x.device, dtype=x.dtype)


def silu(x: Tensor) -> Tensor:
    """SiLU, in place where no gradient needs the input."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a 2-D convolution to [N, H, W, C]."""
    return conv(x.contiguous().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


class ChannelNorm(nn.Module):
    """Layer norm over channels with a gain and no bias."""

    def __init__(self, channels: int, **factory):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] → [..., C]."""
        return F.layer_norm(x, x.shape[-1:], cast_like(self.gain, x), None, NORM_EPS)


def reduced_moments(x: Tensor, clips: int, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each clip's groups of channels, x [N, H, W, C] → [B, groups] each."""
    grouped = x.reshape(clips, -1, groups, x.shape[-1] // groups)
    variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0)
    return mean, variance


def native_moments(x: Tensor, clips: int, groups: int) -> tuple[Tensor, Tensor]:
    """The same from the statistics that the native group norm keeps: ten times as fast on a CPU,
    and only there it takes channels-last input."""
    # Folded by reshape: it looks at the strides of axes of length one as well.
    folded = x.reshape(clips, -1, *x.shape[2:]).permute(0, 3, 1, 2)
    sizes = (*folded.shape[:2], folded.shape[2] * folded.shape[3])
    _, mean, rstd = torch.native_group_norm(folded, None, None, *sizes, groups, NORM_EPS)
    return mean, (rstd**-2 - NORM_EPS).clamp(min=0)


class ClipStatistics:
    """Gathers a group norm's mean and variance over all frames of each clip, portion by portion.

    A portion is either all frames of all clips or some frames of a single clip. Portions are
    merged at the end, by their variances and the deviations of their means (Chan et al. 1979), so the
    variance never comes from a difference of large numbers.
    """

    def __init__(self, clips: int, groups: int):
        self.clips, self.groups = clips, groups
        self._counts: list[int] = []
        self._moments: list[tuple[Tensor, Tensor]] = []

    def add(self, x: Tensor) -> Tensor:
        """Count x [N, H, W, C] in and return it as it is."""
        moments = native_moments if x.device.type == "cpu" else reduced_moments
        self._counts.append(x.numel() // self.clips // self.groups)
        self._moments.append(moments(x.float(), self.clips, self.groups))
        return x

    def mean_and_rstd(self) -> tuple[Tensor, Tensor]:
        """[B, groups] each, float32."""
        mean, variance = self._moments[0]
        if len(self._moments) > 1:
            means, variances = (torch.stack(values) for values in zip(*self._moments, strict=True))
            share = [count / sum(self._counts) for count in self._counts]
            # Filled on the device: numbers sent there would make the host wait for all that is queued.
            shares = torch.full((len(share), 1, 1), share[0], device=mean.device)
            for portion, value in enumerate(share):
                if value != share[0]:
                    shares[portion].fill_(value)
            mean = (means * shares).sum(0)
            variance = ((variances + (means - mean).square()) * shares).sum(0)
        return mean, torch.rsqrt(variance + NORM_EPS)


class ClipGroupNorm(nn.Module):
    """Group norm whose statistics run over all frames of a clip (docs/model.md, "Denoiser").

    This couples every frame of a clip to every other, which is why a clip can not be
    sampled in independent pieces.
    """

    def __init__(self, groups: int, channels: int, **factory):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels, **factory))
        self.bias = nn.Parameter(torch.zeros(channels, **factory))

    def statistics(self, clips: int) -> ClipStatistics:
        return ClipStatistics(clips, self.groups)

    def affine(
        self,
        statistics: ClipStatistics,
        dtype: torch.dtype,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The norm as one multiplication and one addition per channel: slope and offset [B, 1, 1, C].

        With scale and shift [B, C] the result is norm(x)·(1 + scale) + shift.
        """
        # Operands of two types meet in one kernel each, which casting them first would double. The offset goes with the
        # slope as it is rounded: then a large mean still cancels.
        mean, rstd = (value[:, :, None] for value in statistics.mean_and_rstd())
        grouped = (self.groups, self.weight.shape[0] // self.groups)
        weight, bias = (part.to(mean.device).unflatten(0, grouped) for part in (self.weight, self.bias))
        if scale is None:
            slope = cast_result(torch.mul, weight, rstd, dtype=dtype)
        else:
            scale, shift = scale.unflatten(1, grouped), shift.unflatten(1, grouped)
            slope = weight * rstd
            slope = cast_result(torch.addcmul, slope, slope, scale, dtype=dtype)
            bias = cast_result(torch.addcmul, bias, bias, scale, dtype=rstd.dtype) + shift
        offset = cast_result(partial(torch.addcmul, value=-1), bias, mean, slope, dtype=dtype)
        slope, offset = (value.flatten(1)[:, None, None] for value in (slope, offset))
        return slope, offset


def cast_result(function: Callable[..., Tensor], *tensors: Tensor, dtype: torch.dtype) -> Tensor:
    """function(*tensors).to(dtype), for an element-wise function; on CUDA in one kernel. Whether other devices cast
    what they write is not known."""
    if torch.is_grad_enabled() or not tensors[0].is_cuda:
        return function(*tensors).to(dtype)
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    return function(*tensors, out=torch.empty(shape, dtype=dtype, device=tensors[0].device))


def normalise_and_activate(x: Tensor, affine: tuple[Tensor, Tensor]) -> Tensor:
    """SiLU(x·slope + offset) for x [N, H, W, C] and a clip norm's slope and offset [B, 1, 1, C]."""
    slope, offset = affine
    if slope.shape[0] > 1:
        frames = x.shape[0] // slope.shape[0]
        slope, offset = (value.repeat_interleave(frames, dim=0) for value in (slope, offset))
    return silu(torch.addcmul(offset, x, slope))


class TimeEmbedding(nn.Module):
    """Sinusoids of the timestep through a two-layer network (docs/model.md, "Denoiser")."""

    def __init__(self, width: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.width = width
        self.linear1 = operations.Linear(width, width * 4, **factory)
        self.linear2 = operations.Linear(width * 4, width * 4, **factory)

    def sinusoids(self, timestep: Tensor) -> Tensor:
        """timestep [B] → [B, width], in float32."""
        half = self.width // 2
        frequencies = torch.exp(
            torch.arange(half, dtype=torch.float32, device=timestep.device) * -(math.log(10000) / (half - 1))
        )
        angles = timestep.float()[:, None] * frequencies[None]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """timestep [B] → [B, 4·width]."""
        return self.linear2(F.gelu(self.linear1(self.sinusoids(timestep).to(dtype))))


class Downsample(nn.Module):
    """Halve height and width."""

    def __init__(self, channels: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.widest = channels
        self.conv = operations.Conv2d(channels, channels, 4, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, H/2, W/2, C]."""
        return convolve(self.conv, x)


class Upsample(nn.Module):
    """Double height and width by a transposed convolution."""

    def __init__(self, channels: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.widest = 4 * channels
        self.conv = operations.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, 2H, 2W, C]."""
        return convolve(self.conv, x)
