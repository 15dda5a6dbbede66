"""The denoiser: predicts the noise in a clip's motion latents (arXiv 2410.13726, section 3.3;
docs/model.md, "Denoiser").

What depends on the picture, the speech or the clip's length alone is computed once per clip
by `UNet3D.prepare`; `UNet3D.forward` is what remains per sampling step.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import DenoiserConfig
from ..layers.attention import (
    LinearWeights,
    RelativeBias,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
    TemporalBand,
    temporal_band,
)
from ..layers.basic import Downsample, TimeEmbedding, Upsample, convolve
from ..layers.slices import WHOLE, Slices
from .guidance_attention import Guides
from .residual_blocks import ConditionedBlock, OutputHead

LATENT_CHANNELS = 3
"""Sampling grid x, grid y, occlusion."""


@dataclass(frozen=True)
class PreparedLevel:
    """What a level needs of a clip: the guides of its two blocks and the weights of its linear attention."""

    block1: Guides
    block2: Guides
    spatial: LinearWeights


class Level(nn.Module):
    """Two conditioned blocks, attention over space and over time, and a change of size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resample: type[nn.Module] | None,
        config: DenoiserConfig,
        operations: ModuleType = nn,
        **factory,
    ):
        super().__init__()
        attention = (out_channels, config.heads, config.head_dim, operations)
        self.block1 = ConditionedBlock(in_channels, out_channels, config, operations, **factory)
        self.block2 = ConditionedBlock(out_channels, out_channels, config, operations, **factory)
        self.spatial = SpatialLinearAttention(*attention, **factory)
        self.temporal = TemporalAttention(*attention, **factory)
        self.resample = resample(out_channels, operations, **factory) if resample else None

    def prepare(self, condition: Tensor, like: Tensor) -> PreparedLevel:
        """condition [N, audio + pose + blink] → what stays the same over all sampling steps, of `like`'s dtype."""
        return PreparedLevel(
            self.block1.prepare(condition), self.block2.prepare(condition), self.spatial.prepare(like)
        )

    def forward(
        self,
        parts: tuple[Tensor, ...],
        time: Tensor,
        prepared: PreparedLevel,
        band: TemporalBand,
        slices: Slices,
    ) -> Tensor:
        """parts: [N, H, W, …] whose channels together are C_in → [N, H, W, C_out], before the change of size."""
        x = self.block1(parts, time, prepared.block1, slices)
        x = self.block2((x,), time, prepared.block2, slices)
        x = slices.frames(
            lambda part: self.spatial(part, prepared.spatial),
            x,
            device=time.device,
            width=self.spatial.width,
            out=x,
        )
        return self.temporal(x, band, slices, out=x)

    def resize(self, x: Tensor, device: torch.device, slices: Slices) -> Tensor:
        """[N, H, W, C] → [N, H', W', C]; the last level of either way keeps its size."""
        if self.resample is None:
            return x
        return slices.frames(self.resample, x, device=device, width=self.resample.widest)


@dataclass(frozen=True)
class PreparedClip:
    """What the denoiser needs of a clip besides the noisy latents and the timestep.

    source [B or N, h, w, width]: the first convolution's share of the picture
    downs, mids, ups: of the levels and of the two blocks between them, as the network lists them
    """

    source: Tensor
    band: TemporalBand
    downs: tuple[PreparedLevel, ...]
    mids: tuple[Guides, Guides]
    ups: tuple[PreparedLevel, ...]

    @property
    def frames(self) -> int:
        return self.band.frames


class UNet3D(nn.Module):
    """Noise prediction for all frames of a clip at once."""

    def __init__(self, config: DenoiserConfig, operations: ModuleType = nn, **factory):
        super().__init__()
        self.config = config
        width = config.base_width
        widths = [width * multiplier for multiplier in config.multipliers]
        ins, last = [width, *widths[:-1]], len(widths) - 1
        attention = (config.heads, config.head_dim, operations)

        self.temporal_bias = RelativeBias(
            config.bias_buckets, config.bias_max_distance, config.heads, **factory
        )
        self.time = TimeEmbedding(width, operations, **factory)
        self.input = operations.Conv2d(LATENT_CHANNELS, width, 7, padding=3, bias=False, **factory)
        self.source = operations.Conv2d(
            config.feature_channels + config.box_channels, width, 7, padding=3, **factory
        )
        self.input_temporal = TemporalAttention(width, *attention, **factory)
        self.downs = nn.ModuleList(
            Level(ins[i], widths[i], Downsample if i < last else None, config, operations, **factory)
            for i in range(len(widths))
        )
        self.mid_block1 = ConditionedBlock(widths[-1], widths[-1], config, operations, **factory)
        self.mid_spatial = SpatialAttention(widths[-1], *attention, **factory)
        self.mid_temporal = TemporalAttention(widths[-1], *attention, **factory)
        self.mid_block2 = ConditionedBlock(widths[-1], widths[-1], config, operations, **factory)
        self.ups = nn.ModuleList(
            Level(2 * widths[i], ins[i], Upsample if i > 0 else None, config, operations, **factory)
            for i in reversed(range(len(widths)))
        )
        self.flow_head = OutputHead(2 * width, width, 2, config.groups, operations, **factory)
        self.occlusion_head = OutputHead(2 * width, width, 1, config.groups, operations, **factory)

    def prepare(self, source: Tensor, condition: Tensor, window: int | None = None) -> PreparedClip:
        """Compute once what stays the same over all sampling steps.

        source     [B, features + box, h, w]: picture features and box code; with a frame
                   axis, [B, features + box, F, h, w], each frame has its own
        condition  [B, F, audio + pose + blink]
        window     ± frames of temporal attention, the configuration's unless given

        Raises ValueError when a size does not fit the configuration.
        """
        config = self.config
        _, frames, width = condition.shape
        window = config.window if window is None else window
        height, columns = source.shape[-2:]
        if width != config.condition_dim:
            raise ValueError(
                f"condition rows have {width} numbers, this denoiser takes {config.condition_dim}"
            )
        if height % config.size_multiple or columns % config.size_multiple:
            raise ValueError(
                f"motion latents of {height}×{columns}: height and width must be multiples of {config.size_multiple}"
            )
        if source.ndim == 5:
            source = rearrange(source, "b c f h w -> (b f) c h w")
        condition = rearrange(condition, "b f c -> (b f) c")
        return PreparedClip(
            source=self.source(source).permute(0, 2, 3, 1),
            band=temporal_band(
                self.temporal_bias, frames, window, config.head_dim, source.device, source.dtype
            ),
            downs=tuple(level.prepare(condition, source) for level in self.downs),
            mids=(self.mid_block1.prepare(condition), self.mid_block2.prepare(condition)),
            ups=tuple(level.prepare(condition, source) for level in self.ups),
        )

    def forward(self, x: Tensor, timestep: Tensor, clip: PreparedClip, slices: Slices = WHOLE) -> Tensor:
        """Predict the noise. x [B, 3, F, h, w], timestep [B] → [B, 3, F, h, w].

        `slices` changes memory and speed, not the result; several clips at once are not sliced.
        """
        clips, _, frames, _, _ = x.shape
        slices, band, device = slices if clips == 1 else WHOLE, clip.band, x.device
        time = F.silu(self.time(timestep, x.dtype))  # here, not once more in every block

        x = rearrange(x, "b c f h w -> (b f) h w c")
        x = first = self.enter(x, clip.source, slices)
        x = self.input_temporal(x, band, slices)

        skips = []
        for level, prepared in zip(self.downs, clip.downs, strict=True):
            x = level((x,), time, prepared, band, slices)
            skips.append(x)
            x = level.resize(x, device, slices)

        x = self.mid_block1((x,), time, clip.mids[0], slices)
        x = slices.frames(self.mid_spatial, x, device=device, width=self.mid_spatial.width, out=x)
        x = self.mid_temporal(x, band, slices, out=x)
        x = self.mid_block2((x,), time, clip.mids[1], slices)

        for level, prepared in zip(self.ups, clip.ups, strict=True):
            x = level((x, skips.pop()), time, prepared, band, slices)
            x = level.resize(x, device, slices)

        flow = self.flow_head((x, first), clips, device, slices)
        occlusion = self.occlusion_head((x, first), clips, device, slices)
        x = torch.cat([flow, occlusion], dim=-1).to(device)
        return rearrange(x, "(b f) h w c -> b c f h w", f=frames)

    def enter(self, x: Tensor, source: Tensor, slices: Slices) -> Tensor:
        """First convolution of latents, [N, h, w, 3] → [N, h, w, width]; `source` is the picture's share of it."""

        if len(source) not in (1, len(x)):
            source = source.repeat_interleave(len(x) // len(source), dim=0)

        def part(x: Tensor, source: Tensor = source) -> Tensor:
            return convolve(self.input, x) + source

        parts = (x, source) if len(source) == len(x) else (x,)
        return slices.frames(part, *parts, device=source.device, width=self.config.base_width)
