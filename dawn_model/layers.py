"""Small layers of the denoiser.

Axis legend for this package: B clips, F frames, N = B·F frames of all clips, H and W latent
rows and columns, P = H·W pixels, C channels, D features of one attention head.
Activations are [N, H, W, C], so linear layers need no transposition and convolutions see
the channels-last format that is fastest on CPUs and tensor cores.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
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
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ChannelNorm(nn.Module):
    """Layer norm over channels with a gain and no bias (specification: LN-gamma)."""

    def __init__(self, channels: int, dtype=None, device=None):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] → [..., C]."""
        return F.layer_norm(x, x.shape[-1:], cast_like(self.gain, x), None, NORM_EPS)


class ClipGroupNorm(nn.Module):
    """Group norm whose statistics run over all frames of a clip (specification 5.4).

    This couples every frame of a clip to every other, which is why a clip can not be
    sampled in independent pieces.
    """

    def __init__(self, groups: int, channels: int, dtype=None, device=None):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=dtype, device=device))

    def forward(
        self, x: Tensor, clips: int, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """x [N, H, W, C] → [N, H, W, C]; optional scale and shift [B, C] give norm(x)·(1 + scale) + shift.

        The modulation is folded into the affine parameters, one pass over the activation less.
        """
        weight, bias = cast_like(self.weight, x), cast_like(self.bias, x)
        if scale is None:
            return self._normalise(x, clips, weight, bias)
        frames = x.shape[0] // clips
        normalised = [
            self._normalise(
                x[clip * frames : (clip + 1) * frames],
                1,
                weight * (1 + scale[clip]),
                bias * (1 + scale[clip]) + shift[clip],
            )
            for clip in range(clips)
        ]
        return normalised[0] if clips == 1 else torch.cat(normalised)

    def _normalise(self, x: Tensor, clips: int, weight: Tensor, bias: Tensor) -> Tensor:
        frames = x.shape[0] // clips
        folded = rearrange(x, "(b f) h w c -> b c (f h) w", b=clips)
        normalised = F.group_norm(folded, self.groups, weight, bias, NORM_EPS)
        return rearrange(normalised, "b c (f h) w -> (b f) h w c", f=frames)


class TimeEmbedding(nn.Module):
    """Sinusoids of the timestep through a two-layer network (specification 5.3)."""

    def __init__(self, width: int, operations: ModuleType = nn, dtype=None, device=None):
        super().__init__()
        self.width = width
        self.linear1 = operations.Linear(width, width * 4, dtype=dtype, device=device)
        self.linear2 = operations.Linear(width * 4, width * 4, dtype=dtype, device=device)

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

    def __init__(self, channels: int, operations: ModuleType = nn, dtype=None, device=None):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 4, stride=2, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, H/2, W/2, C]."""
        return convolve(self.conv, x)


class Upsample(nn.Module):
    """Double height and width by a transposed convolution."""

    def __init__(self, channels: int, operations: ModuleType = nn, dtype=None, device=None):
        super().__init__()
        self.conv = operations.ConvTranspose2d(
            channels, channels, 4, stride=2, padding=1, dtype=dtype, device=device
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, 2H, 2W, C]."""
        return convolve(self.conv, x)
