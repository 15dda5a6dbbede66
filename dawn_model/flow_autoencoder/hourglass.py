"""The hourglass network and the anti-aliased shrinking that the motion estimator is made of
(docs/model.md, "Flow autoencoder")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FixedBatchNorm(nn.Module):
    """A batch norm with its running statistics, under the authors' names.

    `operations` has no batch norm in older ComfyUI, so the tensors follow x by themselves. Unlike in
    `picture_blocks` it is not folded into the convolution: the rounding of that alone moves sharp
    pixels of a 256-pixel reconstruction by 1e-4, and nobody waits for the motion estimator.
    """

    def __init__(self, channels: int, **factory):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, **factory))
        self.bias = nn.Parameter(torch.zeros(channels, **factory))
        self.register_buffer("running_mean", torch.zeros(channels, **factory))
        self.register_buffer("running_var", torch.ones(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], same out."""
        tensors = (t.to(x) for t in (self.running_mean, self.running_var, self.weight, self.bias))
        return F.batch_norm(x, *tensors, training=False, eps=1e-5)


class NormDown(nn.Module):
    """3×3 convolution, norm, ReLU, 2×2 mean."""

    def __init__(self, inputs: int, outputs: int, operations=nn, **factory):
        super().__init__()
        self.conv = operations.Conv2d(inputs, outputs, 3, padding=1, **factory)
        self.norm = FixedBatchNorm(outputs, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H/2, W/2]."""
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class NormUp(nn.Module):
    """Every pixel 2×2 times, 3×3 convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, operations=nn, **factory):
        super().__init__()
        self.conv = operations.Conv2d(inputs, outputs, 3, padding=1, **factory)
        self.norm = FixedBatchNorm(outputs, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', 2H, 2W]."""
        return F.relu(self.norm(self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))))


def anti_alias_kernel(downscale: int) -> Tensor:
    """Normalised Gaussian taps for shrinking by `downscale`: for 4, sigma 1.5 and 13 taps."""
    sigma = (downscale - 1) / 2
    radius = round(4 * sigma)
    distance = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-(distance**2) / (2 * sigma**2))
    return taps / taps.sum()


def shrink(picture: Tensor, downscale: int) -> Tensor:
    """Blur, then keep every `downscale`-th pixel from the first. [B, 3, H, W] → [B, 3, H/n, W/n]."""
    if downscale == 1:
        return picture
    taps = anti_alias_kernel(downscale).to(picture)
    channels, radius = picture.shape[1], len(taps) // 2
    kernel = torch.outer(taps, taps).expand(channels, 1, -1, -1)
    return F.conv2d(picture, kernel, padding=radius, stride=downscale, groups=channels)


class Hourglass(nn.Module):
    """Down `blocks` times and up again; every size on the way up also sees the same size on the way down."""

    def __init__(self, inputs: int, width: int, blocks: int, max_width: int, operations=nn, **factory):
        super().__init__()
        widths = [min(max_width, width * 2**i) for i in range(blocks + 1)]
        self.down_blocks = nn.ModuleList(
            NormDown(inputs if i == 0 else widths[i], widths[i + 1], operations, **factory)
            for i in range(blocks)
        )
        self.up_blocks = nn.ModuleList(
            NormUp(widths[i + 1] * (1 if i == blocks - 1 else 2), widths[i], operations, **factory)
            for i in reversed(range(blocks))
        )
        self.outputs = width + inputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, width + inputs, H, W].

        Raises ValueError when the sides cannot be halved `blocks` times.
        """
        step = 2 ** len(self.down_blocks)
        if x.shape[-1] % step or x.shape[-2] % step:
            raise ValueError(f"sides must be multiples of {step}, got {tuple(x.shape)}")
        skips = [x]
        for down in self.down_blocks:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up_blocks:
            x = torch.cat([up(x), skips.pop()], dim=1)
        return x
