"""Convolution blocks of the flow autoencoder.

The authors follow each convolution by a batch norm. With its running statistics that is a fixed
scale and shift per channel, so it is folded into the convolution when a checkpoint is converted
(`official_keys/fusing.py`), as is the nearest-neighbour upsampling of `UpBlock`. What remains are
plain convolutions, differently arranged where that is faster and gives the same result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution that keeps the size, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, operations=nn, **factory):
        super().__init__()
        self.conv = operations.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H, W]."""
        return F.relu_(self.conv(x))


class DownBlock(ConvBlock):
    """3×3 convolution, ReLU, 2×2 mean."""

    def __init__(self, inputs: int, outputs: int, operations=nn, **factory):
        super().__init__(inputs, outputs, 3, operations, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H/2, W/2]."""
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(nn.Module):
    """Twice the size, ReLU.

    Repeating every pixel 2×2 and convolving 3×3 multiplies the same pixel several times. Summing
    the weights first gives a transposed 4×4 convolution of stride 2: the same result for 4/9 of
    the multiplications, and the enlarged input is never stored.
    """

    def __init__(self, inputs: int, outputs: int, operations=nn, **factory):
        super().__init__()
        self.conv = operations.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', 2H, 2W]."""
        return F.relu_(self.conv(x))


class ChannelAffine(nn.Module):
    """A batch norm that no convolution precedes: scale and shift per channel."""

    def __init__(self, channels: int, **factory):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, **factory))
        self.bias = nn.Parameter(torch.zeros(channels, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], same out. The weights follow x, because no `operations` layer casts them."""
        weight, bias = (p.to(x)[:, None, None] for p in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


class ResBlock(nn.Module):
    """x + conv2(ReLU(conv1(ReLU(norm1(x))))), 3×3; the norm between the two is folded into conv1."""

    def __init__(self, channels: int, operations=nn, **factory):
        super().__init__()
        self.norm1 = ChannelAffine(channels, **factory)
        self.conv1 = operations.Conv2d(channels, channels, 3, padding=1, **factory)
        self.conv2 = operations.Conv2d(channels, channels, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], same out."""
        hidden = F.relu_(self.norm1(x))
        hidden = F.relu_(self.conv1(hidden))
        return self.conv2(hidden).add_(x)


class ToPicture(nn.Module):
    """7×7 convolution to three channels.

    Hardware computes 8 or 16 output channels at a time, so three waste most of the work. The four
    pixels of a 2×2 square become channels of one 8×8 convolution of stride 2, then move to their place.
    """

    def __init__(self, inputs: int, operations=nn, **factory):
        super().__init__()
        self.squares = operations.Conv2d(inputs, 3 * 4, 8, stride=2, padding=3, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], even sides → [B, 3, H, W]."""
        return F.pixel_shuffle(self.squares(x), 2)
