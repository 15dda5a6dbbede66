"""The flow autoencoder: encode a portrait once, then move it frame by frame (arXiv 2410.13726, section 3.2, "LFG";
docs/model.md, "Flow autoencoder").

Axes: B batch, F frames, C channels, S picture side, h and w motion-latent size (S / downscale).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import FlowAutoencoderConfig
from ..structures import InnerLips
from .blocks import ConvBlock, DownBlock, ResBlock, ToPicture, UpBlock
from .meeting_lips import close_lips
from .warping import MotionPyramid


@dataclass(frozen=True)
class SourceFeatures:
    """Everything the decoder needs of one portrait, computed once per clip.

    picture   [1, 3, S, S]: RGB in 0..1, always float32
    features  from the picture's size down to the motion latents': [1, C, S, S], [1, 2C, S/2, S/2], …
    lips      of an open mouth; None where they need no help to meet
    """

    picture: Tensor
    features: tuple[Tensor, ...]
    lips: InnerLips | None = None

    @property
    def deepest(self) -> Tensor:
        """[1, C, h, w], all ≥ 0: what the denoiser sees of the portrait."""
        return self.features[-1]


class FlowAutoencoder(nn.Module):
    """Warps the source's features along the flow and paints what the occlusion map says is hidden."""

    def __init__(self, config: FlowAutoencoderConfig, operations=nn, **factory):
        """`operations` supplies the layers; `factory` is their dtype and device."""
        super().__init__()
        self.config = config
        widths = [min(config.max_width, config.width * 2**i) for i in range(config.down_blocks + 1)]
        levels = list(itertools.pairwise(widths))
        self.first = ConvBlock(3, widths[0], 7, operations, **factory)
        self.down_blocks = nn.ModuleList(DownBlock(c, c2, operations, **factory) for c, c2 in levels)
        self.bottleneck = nn.Sequential(
            *(ResBlock(widths[-1], operations, **factory) for _ in range(config.bottleneck_blocks))
        )
        self.up_blocks = nn.ModuleList(UpBlock(c2, c, operations, **factory) for c, c2 in reversed(levels))
        self.final = ToPicture(widths[0], operations, **factory)

    def encode(
        self, picture: Tensor, dtype: torch.dtype | None = None, lips: InnerLips | None = None
    ) -> SourceFeatures:
        """Look at a portrait.

        Args:
            picture: RGB [B, 3, S, S] in 0..1; one portrait (B = 1) for all frames, or one per frame
            dtype:   what the network computes in, the picture's own by default
            lips:    kept with the features, see there

        Raises ValueError when S is not a multiple of the downscale.
        """
        step = self.config.downscale
        if picture.shape[-1] % step or picture.shape[-2] % step:
            raise ValueError(f"picture sides must be multiples of {step}, got {tuple(picture.shape)}")
        x = picture.to(dtype or picture.dtype, memory_format=torch.channels_last)
        features = [self.first(x)]
        for down in self.down_blocks:
            features.append(down(features[-1]))
        lips = None if lips is None else lips.to(picture.device)
        return SourceFeatures(picture.float(), tuple(features), lips)

    def decode(
        self, source: SourceFeatures, flow: Tensor, occlusion: Tensor, shut: Tensor | None = None
    ) -> Tensor:
        """Make frames: the whole of `flow` at once, so the caller chooses how many.

        Args:
            source:    of one portrait, or of one per frame
            flow:      [F, h, w, 2], absolute sampling grid
            occlusion: [F, 1, h, w], visibility of the source in 0..1
            shut:      [F], how far the lips are to meet, 0..1

        Returns RGB [F, 3, S, S], float32, inside 0..1 up to rounding.
        """
        motion = MotionPyramid(flow, occlusion, self.config.sharper_edges)
        *shallow, deepest = source.features
        warped = motion.warp(deepest)
        x = self.bottleneck(motion.visible(warped))
        x = motion.blend(warped, x)
        for up, feature in zip(self.up_blocks, reversed(shallow), strict=True):
            x = motion.blend(motion.warp(feature), up(x))
        # The picture's own pixels are mixed in at full precision, whatever the network computes in.
        generated = torch.sigmoid(self.final(x).float())
        frames = motion.blend(motion.warp(source.picture), generated)
        if shut is None or source.lips is None:
            return frames
        return close_lips(frames, source.picture, source.lips, flow, shut)

    def deform(self, source: SourceFeatures, flow: Tensor) -> Tensor:
        """The portrait moved along the flow with nothing painted, RGB [F, 3, S, S]."""
        return MotionPyramid(flow, torch.zeros_like(flow[..., :1]).movedim(-1, 1)).warp(source.picture)
