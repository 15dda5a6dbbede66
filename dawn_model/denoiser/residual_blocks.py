"""The residual blocks of the denoiser: conditioned ones, and the unconditioned one of its two heads.

Group norms take their statistics over all frames of a clip, so each block runs over the clip's slices three times:
up to the first norm, up to the second, and to the end.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import DenoiserConfig
from ..layers.basic import ClipGroupNorm, convolve, normalise_and_activate
from ..layers.slices import Slices
from .guidance_attention import GuidanceAttention, Guides


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
        """parts: [N, H, W, …] whose channels together are C_in; time [B, 4·width], activated → [N, H, W, C_out]."""
        clips, device = time.shape[0], time.device
        scale, shift = self.time(time).chunk(2, dim=-1)
        moments1, moments2 = self.norm1.statistics(clips), self.norm2.statistics(clips)

        def first(*x: Tensor) -> Tensor:
            return moments1.add(convolve(self.conv1, join(x)))

        h = slices.frames(first, *parts, device=device, width=self.widest)
        affine1 = self.norm1.affine(moments1, h.dtype, scale, shift)

        guiding = guides.of_frames

        def second(h: Tensor, *rest: Tensor) -> Tensor:
            of_frames, x = rest[: len(guiding)], rest[len(guiding) :]
            h = normalise_and_activate(h, affine1)
            h = self.guidance(join(x), h, guides, *of_frames)
            return moments2.add(convolve(self.conv2, h))

        # On small maps the values that the guide mixes outweigh the pixels.
        width = max(self.widest, self.guidance.numbers // (h.shape[1] * h.shape[2]))
        h = slices.frames(second, h, *guiding, *parts, device=device, width=width, out=h)
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
