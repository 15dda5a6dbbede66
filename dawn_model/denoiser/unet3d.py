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
from ..layers.basic import (
    ClipGroupNorm,
    Downsample,
    TimeEmbedding,
    Upsample,
    convolve,
    normalise_and_activate,
)
from ..layers.slices import WHOLE, Slices
from .guidance_attention import GuidanceAttention, Guides

LATENT_CHANNELS = 3
"""Sampling grid x, grid y, occlusion."""


class ConditionedBlock(nn.Module):
    """Residual block conditioned on time, audio, head pose and blink (docs/model.md, "Denoiser")."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: DenoiserConfig,
        operations: ModuleType = nn,
        **factory,
    ):
        super().__init__()
        self.widths = (config.audio_dim, config.pose_dim, config.blink_dim)
        self.widest = in_channels + out_channels
        context_dim = 2 * out_channels
        self.time = operations.Linear(4 * config.base_width, 2 * out_channels, **factory)
        self.audio = operations.Linear(config.audio_dim, context_dim, **factory)
        self.pose = operations.Linear(config.pose_dim, context_dim, **factory)
        self.blink = operations.Linear(config.blink_dim, context_dim, **factory)
        self.guidance = GuidanceAttention(
            in_channels,
            out_channels,
            context_dim,
            config.cross_heads,
            config.cross_head_dim,
            operations,
            **factory,
        )
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **factory)
        self.norm1 = ClipGroupNorm(config.groups, out_channels, **factory)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory)
        self.norm2 = ClipGroupNorm(config.groups, out_channels, **factory)
        self.residual = (
            operations.Linear(in_channels, out_channels, **factory)
            if in_channels != out_channels
            else nn.Identity()
        )

    def prepare(self, condition: Tensor) -> Guides:
        """condition [N, audio + pose + blink] → what the cross-attentions need of it."""
        audio, pose, blink = F.silu(condition).split(self.widths, dim=-1)
        return self.guidance.prepare(self.audio(audio), self.pose(pose), self.blink(blink))

    def forward(self, parts: tuple[Tensor, ...], time: Tensor, guides: Guides, slices: Slices) -> Tensor:
        """parts: [N, H, W, …] whose channels together are C_in; time [B, 4·width] → [N, H, W, C_out]."""
        clips, device = time.shape[0], time.device
        scale, shift = self.time(F.silu(time)).chunk(2, dim=-1)
        moments1, moments2 = self.norm1.statistics(clips), self.norm2.statistics(clips)

        def first(*x: Tensor) -> Tensor:
            return moments1.add(convolve(self.conv1, join(x)))

        h = slices.frames(first, *parts, device=device, width=self.widest)
        affine1 = self.norm1.affine(moments1, h.dtype, scale, shift)

        def second(h: Tensor, direction: Tensor, value: Tensor, *x: Tensor) -> Tensor:
            h = normalise_and_activate(h, affine1)
            h = self.guidance(join(x), h, guides.query, direction, value)
            return moments2.add(convolve(self.conv2, h))

        # On small maps the values that the guide mixes outweigh the pixels.
        width = max(self.widest, self.guidance.numbers // (h.shape[1] * h.shape[2]))
        h = slices.frames(
            second, h, guides.direction, guides.value, *parts, device=device, width=width, out=h
        )
        affine2 = self.norm2.affine(moments2, h.dtype)

        def last(h: Tensor, *x: Tensor) -> Tensor:
            return normalise_and_activate(h, affine2) + self.residual(join(x))

        return slices.frames(last, h, *parts, device=device, width=width, out=h)


def join(parts: tuple[Tensor, ...]) -> Tensor:
    """Concatenate on channels. Skips are joined slice by slice, never as a whole."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class OutputHead(nn.Module):
    """Unconditioned residual block and a projection (docs/model.md, "Denoiser")."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        groups: int,
        operations: ModuleType = nn,
        **factory,
    ):
        super().__init__()
        self.widest = in_channels + width
        self.conv1 = operations.Conv2d(in_channels, width, 3, padding=1, **factory)
        self.norm1 = ClipGroupNorm(groups, width, **factory)
        self.conv2 = operations.Conv2d(width, width, 3, padding=1, **factory)
        self.norm2 = ClipGroupNorm(groups, width, **factory)
        self.residual = operations.Linear(in_channels, width, **factory)
        self.output = operations.Linear(width, out_channels, **factory)

    def forward(self, parts: tuple[Tensor, ...], clips: int, device: torch.device, slices: Slices) -> Tensor:
        """parts: [N, H, W, …] whose channels together are C_in → [N, H, W, out_channels]."""
        moments1, moments2 = self.norm1.statistics(clips), self.norm2.statistics(clips)

        def first(*x: Tensor) -> Tensor:
            return moments1.add(convolve(self.conv1, join(x)))

        h = slices.frames(first, *parts, device=device, width=self.widest)
        affine1 = self.norm1.affine(moments1, h.dtype)

        def second(h: Tensor) -> Tensor:
            return moments2.add(convolve(self.conv2, normalise_and_activate(h, affine1)))

        h = slices.frames(second, h, device=device, width=self.widest, out=h)
        affine2 = self.norm2.affine(moments2, h.dtype)

        def last(h: Tensor, *x: Tensor) -> Tensor:
            return self.output(normalise_and_activate(h, affine2) + self.residual(join(x)))

        return slices.frames(last, h, *parts, device=device, width=self.widest)


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
        return self.band.rotary.shape[0]


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
        time = self.time(timestep, x.dtype)

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
