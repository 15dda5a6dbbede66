"""The denoiser of the embedded model: DAWN's, taken apart into space and time.

The authors' network computes space and time together for every frame and step. On two CPU cores a network
small enough for that draws nothing well. Here a network over space looks at the portrait *once* and makes a
few dozen motion fields: directions in which this very face can move. What is left to denoise, for the whole
clip at once, are the fields' coefficients in every frame; that is the network over time, conditioned on mouth, pose
and blink.

Latents, conditions, samplers and decoder are DAWN's (paper section 3.3), but for three things. The flow latents
are departures from standing still, in units of `flow_range`: as absolute grids, lips would move by a hundredth of
their range. They are not bounded, so no threshold is applied to them. And the output is the clean latents; the
samplers work with noise, and `predicted_noise` turns one into the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import CompactConfig
from ..layers.attention import RelativeBias, TemporalAttention, TemporalBand, temporal_band
from ..layers.basic import ChannelNorm, TimeEmbedding
from ..layers.slices import WHOLE, Slices
from .face_code import CHANNELS as PORTRAIT_CHANNELS
from .face_code import FOURIER_CHANNELS, fourier_features

LATENT_CHANNELS = 3
"""Departure of the sampling grid along x and y, and occlusion."""

FRAMES_AT_ONCE = 64
"""Bounds what projecting and composing frames need beside the latents."""
_EPS = 1e-6


@dataclass(frozen=True)
class CompactClip:
    """What stays the same over all sampling steps.

    fields [B, fields, 3, h, w]: the portrait's motion fields
    context [B, F, width]: embedding of mouth, pose, blink and portrait
    coefficients [B, F, fields]: the linear part of what the conditions say about the fields' coefficients
    """

    fields: Tensor
    context: Tensor
    coefficients: Tensor
    band: TemporalBand

    @property
    def frames(self) -> int:
        return self.context.shape[1]


class SpatialBlock(nn.Module):
    """Residual block over a picture."""

    def __init__(self, inputs: int, outputs: int, groups: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.norm1 = operations.GroupNorm(groups, inputs, **factory)
        self.conv1 = operations.Conv2d(inputs, outputs, 3, padding=1, **factory)
        self.norm2 = operations.GroupNorm(groups, outputs, **factory)
        self.conv2 = operations.Conv2d(outputs, outputs, 3, padding=1, **factory)
        self.residual = (
            operations.Conv2d(inputs, outputs, 1, **factory) if inputs != outputs else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        return self.residual(x) + self.conv2(F.silu(self.norm2(h)))


class MotionFields(nn.Module):
    """Portrait → the fields along which it can move, and a summary of it: a U-Net over space, then every cell alone."""

    def __init__(self, config: CompactConfig, operations: ModuleType = nn, **factory):
        super().__init__()
        widths = config.spatial_widths
        self.fields = config.fields
        self.input = operations.Conv2d(PORTRAIT_CHANNELS, widths[0], 3, padding=1, **factory)
        block = {"groups": config.groups, "operations": operations, **factory}
        self.downs = nn.ModuleList(
            SpatialBlock(a, b, **block) for a, b in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.middle = SpatialBlock(widths[-1], widths[-1], **block)
        self.ups = nn.ModuleList(
            SpatialBlock(2 * b, a, **block)
            for a, b in zip(reversed((widths[0], *widths[:-1])), reversed(widths), strict=True)
        )
        self.norm = operations.GroupNorm(config.groups, widths[0], **factory)
        self.point1 = operations.Conv2d(widths[0] + FOURIER_CHANNELS, config.point_width, 1, **factory)
        self.point2 = operations.Conv2d(config.point_width, config.point_width, 1, **factory)
        self.output = operations.Conv2d(config.point_width, LATENT_CHANNELS * config.fields, 1, **factory)

    def forward(self, portrait: Tensor) -> tuple[Tensor, Tensor]:
        """[B, PORTRAIT_CHANNELS, h, w], from `face_code` → [B, fields, 3, h, w] and [B, last width]."""
        x = self.input(portrait)
        skips = []
        for level, down in enumerate(self.downs):
            x = down(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.middle(x)
        summary = x.mean((-2, -1))
        for level, up in enumerate(self.ups):
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, skips.pop()], dim=1))
        # Lids and lips end from one cell to the next. Convolutions learn such edges late; a network that sees
        # every cell by itself, with Fourier features of its place on the face, learns them at once.
        x = torch.cat([F.silu(self.norm(x)), fourier_features(portrait)], dim=1)
        x = self.output(F.silu(self.point2(F.silu(self.point1(x)))))
        return x.unflatten(1, (self.fields, LATENT_CHANNELS)), summary


class TemporalBlock(nn.Module):
    """Convolution over neighbouring frames, modulated by the noise level, then windowed attention."""

    def __init__(self, config: CompactConfig, operations: ModuleType = nn, **factory):
        super().__init__()
        width = config.width
        self.norm = ChannelNorm(width, **factory)
        self.time = operations.Linear(width, 2 * width, **factory)
        self.conv1 = operations.Conv1d(width, width, 5, padding=2, **factory)
        self.conv2 = operations.Conv1d(width, width, 5, padding=2, **factory)
        self.attention = TemporalAttention(width, config.heads, config.head_dim, operations, **factory)

    def forward(self, x: Tensor, time: Tensor, band: TemporalBand) -> Tensor:
        """x [B, F, width]; time [B, width] → [B, F, width]."""
        scale, shift = self.time(F.silu(time))[:, None].chunk(2, dim=-1)
        h = (self.norm(x) * (1 + scale) + shift).transpose(1, 2)
        x = x + self.conv2(F.silu(self.conv1(h))).transpose(1, 2)
        pixels = rearrange(x, "b f c -> (b f) 1 1 c")
        return rearrange(self.attention(pixels, band, WHOLE), "(b f) 1 1 c -> b f c", b=len(x))


class CompactDenoiser(nn.Module):
    """Prediction of the clean latents for all frames of a clip at once."""

    def __init__(self, config: CompactConfig, operations: ModuleType = nn, dtype=None, device=None):
        super().__init__()
        self.config = config
        factory = {"dtype": dtype, "device": device}
        width, conditions = config.width, config.condition_dim + config.expression_dim
        self.motion_fields = MotionFields(config, operations, **factory)
        self.coefficient_proj = operations.Linear(conditions, config.fields, **factory)
        self.context1 = operations.Linear(conditions + config.spatial_widths[-1], 2 * width, **factory)
        self.context2 = operations.Linear(2 * width, width, **factory)
        self.coefficients_in = operations.Linear(config.fields, width, **factory)
        self.time = TimeEmbedding(width // 4, operations, **factory)
        self.temporal_bias = RelativeBias(
            config.bias_buckets, config.bias_max_distance, config.heads, **factory
        )
        self.blocks = nn.ModuleList(
            TemporalBlock(config, operations, **factory) for _ in range(config.layers)
        )
        self.norm = ChannelNorm(width, **factory)
        self.output = operations.Linear(width, config.fields, **factory)

    def prepare(
        self, source: Tensor, condition: Tensor, window: int | None = None, expression: Tensor | None = None
    ) -> CompactClip:
        """Compute once what stays the same over all sampling steps.

        Args:
            source:    [B, PORTRAIT_CHANNELS, h, w], from `face_code`
            condition: [B, F, mouth + pose + blink], differences from the portrait
            window:    ± frames of temporal attention, the configuration's unless given
            expression: [B, F, expression_dim], what brows, gaze and smile do, and 1. For training alone; otherwise it
                       is not known, and the denoiser draws it from the noise

        Raises:
            ValueError: when a size does not fit the configuration.
        """
        config = self.config
        if condition.shape[-1] != config.condition_dim:
            raise ValueError(
                f"condition rows have {condition.shape[-1]} numbers, this denoiser takes {config.condition_dim}"
            )
        if source.shape[-2] % config.size_multiple or source.shape[-1] % config.size_multiple:
            raise ValueError(
                f"motion latents of {tuple(source.shape[-2:])}: sides must be multiples of {config.size_multiple}"
            )
        return self.embed(*self.motion_fields(source), condition, window, expression)

    def embed(
        self,
        fields: Tensor,
        summary: Tensor,
        condition: Tensor,
        window: int | None = None,
        expression: Tensor | None = None,
    ) -> CompactClip:
        """`prepare` of a portrait whose motion fields and summary are known, from `motion_fields`."""
        config, frames = self.config, condition.shape[1]
        if expression is None:
            expression = condition.new_zeros(*condition.shape[:2], config.expression_dim)
        conditions = torch.cat([condition * condition.new_tensor(config.scales), expression], dim=-1)
        context = torch.cat([conditions, summary[:, None].expand(-1, frames, -1)], dim=-1)
        context = self.context2(F.silu(self.context1(context)))
        window = config.window if window is None else window
        band = temporal_band(
            self.temporal_bias, frames, window, config.head_dim, context.device, context.dtype
        )
        return CompactClip(fields, context, self.coefficient_proj(conditions), band)

    def forward(self, x: Tensor, timestep: Tensor, clip: CompactClip, slices: Slices = WHOLE) -> Tensor:
        """Noisy latents x [B, 3, F, h, w], timestep [B] → clean latents [B, 3, F, h, w].

        `slices` is the other denoiser's; this one needs little beside the latents.
        """
        coefficients = self.denoise_coefficients(self.project(x, clip.fields), timestep, clip)
        return self.compose(coefficients, clip.fields)

    def denoise_coefficients(self, projected: Tensor, timestep: Tensor, clip: CompactClip) -> Tensor:
        """How much of each field noisy latents hold, [B, F, fields] from `project` → the same of clean latents."""
        time = self.time(timestep, projected.dtype)
        h = clip.context + self.coefficients_in(projected)
        for block in self.blocks:
            h = block(h, time, clip.band)
        return clip.coefficients + self.output(self.norm(h))

    def project(self, x: Tensor, fields: Tensor) -> Tensor:
        """How much of each field noisy latents [B, 3, F, h, w] hold, [B, F, fields]; noise alone gives unit
        deviation."""
        directions = unit_fields(fields.detach())
        parts = [
            torch.einsum("bcfhw,bkchw->bfk", part, directions) for part in x.split(FRAMES_AT_ONCE, dim=2)
        ]
        return torch.cat(parts, dim=1)

    def compose(self, coefficients: Tensor, fields: Tensor) -> Tensor:
        """Coefficients [B, F, fields] → latents [B, 3, F, h, w].

        The face moves on the head: a cell looks up where the turned head has it come from, and there what the
        face does.
        """
        return torch.cat(
            [self._compose(part, fields) for part in coefficients.split(FRAMES_AT_ONCE, dim=1)], dim=2
        )

    def _compose(self, coefficients: Tensor, fields: Tensor) -> Tensor:
        clips, split = len(coefficients), [self.config.head_fields, self.config.face_fields]
        head, face = (
            rearrange(torch.einsum("bfk,bkchw->bfchw", amount, field), "b f c h w -> (b f) c h w")
            for amount, field in zip(
                coefficients.split(split, dim=-1), fields.split(split, dim=1), strict=True
            )
        )
        grid = still_grid(*head.shape[-2:], head) + self.config.flow_range * head[:, :2].permute(0, 2, 3, 1)
        face = sample_inside(face, grid)
        flow = head[:, :2] + face[:, :2]
        visible = 1 + head[:, 2:] + face[:, 2:]  # all is seen where no field says otherwise
        return rearrange(torch.cat([flow, visible], dim=1), "(b f) c h w -> b c f h w", b=clips)


def unit_fields(fields: Tensor) -> Tensor:
    """Fields [B, fields, 3, h, w] of length 1: noise has unit deviation along each."""
    return fields / (fields.flatten(2).norm(dim=-1)[..., None, None, None] + _EPS)


def sample_inside(x: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples of x [N, C, h, w] at grid [N, h, w, 2] in -1..1; beyond the border lies the border's value.

    The grid is limited to the outermost cell centres instead of asking `grid_sample` for border padding, which
    Apple's MPS lacks before PyTorch 2.13.
    """
    height, width = x.shape[-2:]
    limit = grid.new_tensor([1 - 1 / width, 1 - 1 / height])
    return F.grid_sample(x, torch.minimum(torch.maximum(grid, -limit), limit), align_corners=False)


def predicted_noise(x: Tensor, clean: Tensor, alpha: float) -> Tensor:
    """The noise in x, given the clean latents; alpha is the share of signal in x, below 1."""
    return (x - math.sqrt(alpha) * clean) / math.sqrt(1 - alpha)


def still_grid(height: int, width: int, like: Tensor) -> Tensor:
    """The sampling grid [h, w, 2] that leaves a picture as it is: pixel centres, in -1..1."""
    y, x = ((2 * torch.arange(n).to(like) + 1) / n - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def motion_from_departure(x0: Tensor, flow_range: float) -> tuple[Tensor, Tensor]:
    """Sampled latents [1, 3, F, h, w] → flow [F, h, w, 2], an absolute grid, and occlusion [F, 1, h, w].

    The grid ends at the centres of the outermost cells: what comes from beyond the picture would be black.
    """
    frames = x0[0].transpose(0, 1)
    still = still_grid(*frames.shape[-2:], frames)
    flow = still + flow_range * frames[:, :2].permute(0, 2, 3, 1)
    return flow.clamp(still.amin((0, 1)), still.amax((0, 1))), ((frames[:, 2:] + 1) / 2).clamp(0, 1)


def departure_latents(displacement: Tensor, visible: Tensor, flow_range: float) -> Tensor:
    """Displacement [..., 2, h, w] in sides of the picture and visibility [..., 1, h, w] in 0..1 → latents."""
    return torch.cat([displacement * 2 / flow_range, visible * 2 - 1], dim=-3)
