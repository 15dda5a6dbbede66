"""The denoiser: predicts the noise in a clip's motion latents (paper section 3.3, specification 5).

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

from .attention import (
    ConditionAttention,
    RelativeBias,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
    TemporalBand,
    TwoKeyCondition,
    temporal_band,
)
from .config import DenoiserConfig
from .layers import ClipGroupNorm, Downsample, TimeEmbedding, Upsample, convolve, silu

LATENT_CHANNELS = 3
"""Sampling grid x, grid y, occlusion."""


class ConditionedBlock(nn.Module):
    """Residual block steered by time, audio, head pose and blink (specification 5.4)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: DenoiserConfig,
        operations: ModuleType = nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        self.widths = (config.audio_dim, config.pose_dim, config.blink_dim)
        context_dim = 2 * out_channels
        self.time = operations.Linear(4 * config.base_width, 2 * out_channels, **kwargs)
        self.audio = operations.Linear(config.audio_dim, context_dim, **kwargs)
        self.pose = operations.Linear(config.pose_dim, context_dim, **kwargs)
        self.blink = operations.Linear(config.blink_dim, context_dim, **kwargs)
        attention = (
            in_channels,
            out_channels,
            context_dim,
            config.cross_heads,
            config.cross_head_dim,
            operations,
        )
        self.audio_attention = ConditionAttention(*attention, **kwargs)
        self.pose_attention = ConditionAttention(*attention, **kwargs)
        self.blink_attention = ConditionAttention(*attention, **kwargs)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **kwargs)
        self.norm1 = ClipGroupNorm(config.groups, out_channels, **kwargs)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **kwargs)
        self.norm2 = ClipGroupNorm(config.groups, out_channels, **kwargs)
        self.residual = (
            operations.Linear(in_channels, out_channels, **kwargs)
            if in_channels != out_channels
            else nn.Identity()
        )

    def prepare(self, condition: Tensor) -> tuple[TwoKeyCondition, TwoKeyCondition, TwoKeyCondition]:
        """condition [N, audio + pose + blink] → keys and values of the three cross-attentions."""
        audio, pose, blink = F.silu(condition).split(self.widths, dim=-1)
        return (
            self.audio_attention.prepare(self.audio(audio)),
            self.pose_attention.prepare(self.pose(pose)),
            self.blink_attention.prepare(self.blink(blink)),
        )

    def forward(self, x: Tensor, time: Tensor, condition: tuple[TwoKeyCondition, ...]) -> Tensor:
        """x [N, H, W, C_in], time [B, 4·width] → [N, H, W, C_out]."""
        clips = time.shape[0]
        audio, pose, blink = condition
        scale, shift = self.time(F.silu(time)).chunk(2, dim=-1)
        guide = self.pose_attention(x, pose)
        guide = guide + self.audio_attention(x, audio)
        guide = guide + self.blink_attention(x, blink)
        h = silu(self.norm1(convolve(self.conv1, x), clips, scale, shift)) + guide
        h = silu(self.norm2(convolve(self.conv2, h), clips))
        return h + self.residual(x)


class OutputHead(nn.Module):
    """Unconditioned residual block and a projection (specification 5.2, rows 14 and 15)."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        groups: int,
        operations: ModuleType = nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        self.conv1 = operations.Conv2d(in_channels, width, 3, padding=1, **kwargs)
        self.norm1 = ClipGroupNorm(groups, width, **kwargs)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1, **kwargs)
        self.norm2 = ClipGroupNorm(groups, width, **kwargs)
        self.residual = operations.Linear(in_channels, width, **kwargs)
        self.output = operations.Linear(width, out_channels, **kwargs)

    def forward(self, x: Tensor, clips: int) -> Tensor:
        """x [N, H, W, C] → [N, H, W, out_channels]."""
        h = silu(self.norm1(convolve(self.conv1, x), clips))
        h = silu(self.norm2(convolve(self.conv2, h), clips))
        return self.output(h + self.residual(x))


class Level(nn.Module):
    """Two conditioned blocks, attention over space and over time, and a change of size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resample: type[nn.Module] | None,
        config: DenoiserConfig,
        operations: ModuleType = nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        attention = (out_channels, config.heads, config.head_dim, operations)
        self.block1 = ConditionedBlock(in_channels, out_channels, config, operations, **kwargs)
        self.block2 = ConditionedBlock(out_channels, out_channels, config, operations, **kwargs)
        self.spatial = SpatialLinearAttention(*attention, **kwargs)
        self.temporal = TemporalAttention(*attention, **kwargs)
        self.resample = resample(out_channels, operations, **kwargs) if resample else nn.Identity()


@dataclass(frozen=True)
class PreparedClip:
    """What the denoiser needs of a clip besides the noisy latents and the timestep.

    source [B or N, h, w, width]: the first convolution's share of the picture
    conditions: one entry per conditioned block, in the order of execution
    """

    source: Tensor
    band: TemporalBand
    conditions: tuple[tuple[TwoKeyCondition, ...], ...]

    @property
    def frames(self) -> int:
        return self.band.rotary_cos.shape[0]


class UNet3D(nn.Module):
    """Noise prediction for all frames of a clip at once."""

    def __init__(self, config: DenoiserConfig, operations: ModuleType = nn, dtype=None, device=None):
        super().__init__()
        self.config = config
        kwargs = {"dtype": dtype, "device": device}
        width = config.base_width
        widths = [width * multiplier for multiplier in config.multipliers]
        ins, last = [width, *widths[:-1]], len(widths) - 1
        attention = (config.heads, config.head_dim, operations)

        self.temporal_bias = RelativeBias(
            config.bias_buckets, config.bias_max_distance, config.heads, **kwargs
        )
        self.time = TimeEmbedding(width, operations, **kwargs)
        self.input = operations.Conv2d(LATENT_CHANNELS, width, 7, padding=3, bias=False, **kwargs)
        self.source = operations.Conv2d(
            config.feature_channels + config.box_channels, width, 7, padding=3, **kwargs
        )
        self.input_temporal = TemporalAttention(width, *attention, **kwargs)
        self.downs = nn.ModuleList(
            Level(ins[i], widths[i], Downsample if i < last else None, config, operations, **kwargs)
            for i in range(len(widths))
        )
        self.mid_block1 = ConditionedBlock(widths[-1], widths[-1], config, operations, **kwargs)
        self.mid_spatial = SpatialAttention(widths[-1], *attention, **kwargs)
        self.mid_temporal = TemporalAttention(widths[-1], *attention, **kwargs)
        self.mid_block2 = ConditionedBlock(widths[-1], widths[-1], config, operations, **kwargs)
        self.ups = nn.ModuleList(
            Level(2 * widths[i], ins[i], Upsample if i > 0 else None, config, operations, **kwargs)
            for i in reversed(range(len(widths)))
        )
        self.flow_head = OutputHead(2 * width, width, 2, config.groups, operations, **kwargs)
        self.occlusion_head = OutputHead(2 * width, width, 1, config.groups, operations, **kwargs)

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
        blocks = [block for level in self.downs for block in (level.block1, level.block2)]
        blocks += [self.mid_block1, self.mid_block2]
        blocks += [block for level in self.ups for block in (level.block1, level.block2)]
        return PreparedClip(
            source=self.source(source).permute(0, 2, 3, 1),
            band=temporal_band(
                self.temporal_bias, frames, window, config.head_dim, source.device, source.dtype
            ),
            conditions=tuple(block.prepare(condition) for block in blocks),
        )

    def forward(self, x: Tensor, timestep: Tensor, clip: PreparedClip) -> Tensor:
        """Predict the noise. x [B, 3, F, h, w], timestep [B] → [B, 3, F, h, w]."""
        clips, _, frames, _, _ = x.shape
        band, conditions = clip.band, iter(clip.conditions)
        time = self.time(timestep, x.dtype)

        x = convolve(self.input, rearrange(x, "b c f h w -> (b f) h w c"))
        x = x + clip.source.repeat_interleave(x.shape[0] // clip.source.shape[0], dim=0)
        first = x
        x = x + self.input_temporal(x, band)

        skips = []
        for level in self.downs:
            x = level.block1(x, time, next(conditions))
            x = level.block2(x, time, next(conditions))
            x = x + level.spatial(x)
            x = x + level.temporal(x, band)
            skips.append(x)
            x = level.resample(x)

        x = self.mid_block1(x, time, next(conditions))
        x = x + self.mid_spatial(x)
        x = x + self.mid_temporal(x, band)
        x = self.mid_block2(x, time, next(conditions))

        for level in self.ups:
            x = torch.cat([x, skips.pop()], dim=-1)
            x = level.block1(x, time, next(conditions))
            x = level.block2(x, time, next(conditions))
            x = x + level.spatial(x)
            x = x + level.temporal(x, band)
            x = level.resample(x)

        x = torch.cat([x, first], dim=-1)
        x = torch.cat([self.flow_head(x, clips), self.occlusion_head(x, clips)], dim=-1)
        return rearrange(x, "(b f) h w c -> b c f h w", f=frames)
