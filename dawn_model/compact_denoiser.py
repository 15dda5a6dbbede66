"""The denoiser of the embedded model: the authors' network on patches, made to predict clean motion.

Three departures, each measured or argued in training/README.md:
- it sees squares of motion cells as one position, so that a fine motion grid (which alone can close an eye)
  costs no more than a coarse one;
- its flow latents are departures from standing still, so that lips, which move by a hundredth of the picture,
  are not drowned by the grid itself;
- its output is the clean latents. The samplers work with noise, and `predicted_noise` turns one into the other.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from einops import rearrange
from torch import Tensor, nn

from .config import DenoiserConfig
from .denoiser import LATENT_CHANNELS, OutputHead, PreparedClip, UNet3D


class CompactDenoiser(UNet3D):
    """Prediction of the clean latents for all frames of a clip at once."""

    def __init__(self, config: DenoiserConfig, operations: ModuleType = nn, dtype=None, device=None):
        """Raises ValueError when `config` is that of another denoiser."""
        if config.compact is None:
            raise ValueError("this denoiser needs a configuration with a `compact` part")
        super().__init__(config, operations, dtype=dtype, device=device)
        kwargs = {"dtype": dtype, "device": device}
        self.patch, width = config.compact.patch, config.base_width
        cells, features = self.patch**2, config.feature_channels + config.box_channels
        head = (2 * width, width)
        self.input = operations.Conv2d(LATENT_CHANNELS * cells, width, 7, padding=3, bias=False, **kwargs)
        self.source = operations.Conv2d(features, width, 7, stride=self.patch, padding=3, **kwargs)
        self.flow_head = OutputHead(*head, 2 * cells, config.groups, operations, **kwargs)
        self.occlusion_head = OutputHead(*head, cells, config.groups, operations, **kwargs)

    def prepare(self, source: Tensor, condition: Tensor, window: int | None = None) -> PreparedClip:
        """As `UNet3D.prepare`; here height and width must be multiples of the patch as well."""
        step = self.patch * self.config.size_multiple
        if source.shape[-2] % step or source.shape[-1] % step:
            raise ValueError(
                f"motion latents of {tuple(source.shape[-2:])}: sides must be multiples of {step}"
            )
        steering = torch.tensor(self.config.compact.condition_scale).to(condition)
        audio, steered = condition.split([self.config.audio_dim, len(steering)], dim=-1)
        return super().prepare(source, torch.cat([audio, steered * steering], dim=-1), window)

    def forward(self, x: Tensor, timestep: Tensor, clip: PreparedClip, *slices) -> Tensor:
        """Noisy latents x [B, 3, F, h, w], timestep [B] → clean latents [B, 3, F, h, w]."""
        side = {"p": self.patch, "q": self.patch}
        patches = rearrange(x, "b c f (h p) (w q) -> b (c p q) f h w", **side)
        clean = super().forward(patches, timestep, clip, *slices)
        return rearrange(clean, "b (c p q) f h w -> b c f (h p) (w q)", **side)


def predicted_noise(x: Tensor, clean: Tensor, alpha: float) -> Tensor:
    """The noise in x, given the clean latents; alpha is the share of signal in x, below 1."""
    return (x - math.sqrt(alpha) * clean) / math.sqrt(1 - alpha)


def still_grid(height: int, width: int, like: Tensor) -> Tensor:
    """The sampling grid [h, w, 2] that leaves a picture as it is: pixel centres, in -1..1."""
    y, x = ((2 * torch.arange(n).to(like) + 1) / n - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def motion_from_departure(x0: Tensor, flow_range: float) -> tuple[Tensor, Tensor]:
    """Sampled latents [1, 3, F, h, w] → flow [F, h, w, 2], an absolute grid, and occlusion [F, 1, h, w]."""
    frames = x0[0].transpose(0, 1)
    flow = still_grid(*frames.shape[-2:], frames) + flow_range * frames[:, :2].permute(0, 2, 3, 1)
    return flow, ((frames[:, 2:] + 1) / 2).clamp(0, 1)


def departure_latents(displacement: Tensor, visible: Tensor, flow_range: float) -> Tensor:
    """Displacement [..., 2, h, w] in sides of the picture and visibility [..., 1, h, w] in 0..1 → latents."""
    return torch.cat([(displacement * 2 / flow_range).clamp(-1, 1), visible * 2 - 1], dim=-3)
