"""The pose and blink generator: speech features and noise in, changes of pose and blink out.

Decoder half of the authors' conditional VAE "PBNet" (arXiv 2410.13726, section 3.4;
docs/model.md, "Pose and blink"); the encoder half exists only for training and is not built. At inference it
runs once over the whole audio, so its attention is banded: memory and time grow linearly.

Legend: B clips, T video frames of the audio, C features, D outputs (pose and/or blink).
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import PoseBlinkConfig
from ..layers.attention import RelativeBias, TemporalBand, attend_within_band, rotate_pairs, temporal_band
from ..layers.basic import ChannelNorm, cast_like


def rotate_leading(x: Tensor, band: TemporalBand) -> Tensor:
    """Rotate the first features of each head by their frame's angle; the others carry no position."""
    rotated = 2 * band.rotary.shape[-1]
    return torch.cat([rotate_pairs(x[..., :rotated], band.rotary), x[..., rotated:]], dim=-1)


class EqualRowsAttention(nn.Module):
    """Self-attention over rows that are all equal.

    Any weighted mean of equal values is that value, so queries, keys, bias and window do
    not matter and one row is enough (docs/model.md, "Exact shortcuts").
    """

    def __init__(self, channels: int, inner: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.to_v = operations.Linear(channels, inner, bias=False, **factory)
        self.to_out = operations.Linear(inner, channels, bias=False, **factory)

    def forward(self, row: Tensor) -> Tensor:
        """row [..., C] → [..., C]."""
        return self.to_out(self.to_v(row))


class BandedAttention(nn.Module):
    """Attention of frames over the frames within a window, never more than one block of scores at a time."""

    def __init__(self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (
            operations.Linear(channels, heads * head_dim, bias=False, **factory) for _ in range(3)
        )
        self.to_out = operations.Linear(heads * head_dim, channels, bias=False, **factory)

    def forward(self, x: Tensor, source: Tensor, band: TemporalBand) -> Tensor:
        """x [B, T, C] looks at source [B, T, C] → [B, T, C]."""
        q, k, v = (
            rearrange(tensor, "b t (heads d) -> b heads t d", heads=self.heads)
            for tensor in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        q, k = rotate_leading(q, band), rotate_leading(k, band)
        return self.to_out(attend_within_band(q, k, v, band))


class FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.widen = operations.Linear(channels, inner, **factory)
        self.narrow = operations.Linear(inner, channels, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(x)))


class DecoderLayer(nn.Module):
    """Post-norm transformer layer: frames look at each other, at the speech, and think.

    The first layer of a decoder starts from one query for all frames (`equal_queries`).
    """

    def __init__(
        self,
        config: PoseBlinkConfig,
        equal_queries: bool,
        operations: ModuleType = nn,
        **factory,
    ):
        super().__init__()
        c, heads = config.latent_dim, (config.heads, config.head_dim)
        self.equal_queries = equal_queries
        self.self_attention = (
            EqualRowsAttention(c, config.heads * config.head_dim, operations, **factory)
            if equal_queries
            else BandedAttention(c, *heads, operations, **factory)
        )
        self.cross_attention = BandedAttention(c, *heads, operations, **factory)
        self.feed_forward = FeedForward(c, config.ff_dim, operations, **factory)
        self.self_norm, self.cross_norm, self.feed_forward_norm = (
            operations.LayerNorm(c, **factory) for _ in range(3)
        )

    def forward(
        self, query: Tensor, memory: Tensor, query_band: TemporalBand | None, memory_band: TemporalBand
    ) -> Tensor:
        """query [B, T, C] (or [C], the same for all frames), memory [B, T, C] → [B, T, C]."""
        if self.equal_queries:
            query = self.self_norm(query + self.self_attention(query)).expand_as(memory)
        else:
            query = self.self_norm(query + self.self_attention(query, query, query_band))
        query = self.cross_norm(query + self.cross_attention(query, memory, memory_band))
        return self.feed_forward_norm(query + self.feed_forward(query))


class PoseBlinkDecoder(nn.Module):
    """Speech, the first pose and noise → how pose and blink depart from the first frame."""

    def __init__(self, config: PoseBlinkConfig, operations: ModuleType = nn, **factory):
        super().__init__()
        c = config.latent_dim
        self.config = config
        self.first_embed = operations.Linear(config.output_dim, c, **factory)
        self.audio_embed = operations.Linear(config.audio_dim, config.audio_embed_dim, **factory)
        self.memory_embed = operations.Linear(c + config.z_dim + config.audio_embed_dim, c, **factory)
        self.query = nn.Parameter(torch.zeros(c, **factory))
        if config.init_attention:
            self.init_norm = ChannelNorm(c, **factory)
            self.init_attention = EqualRowsAttention(c, config.heads * config.head_dim, operations, **factory)
        self.query_bias = RelativeBias(config.bias_buckets, config.bias_max_distance, config.heads, **factory)
        self.memory_bias = RelativeBias(
            config.bias_buckets, config.bias_max_distance, config.heads, **factory
        )
        self.layers = nn.ModuleList(
            DecoderLayer(config, index == 0, operations, **factory) for index in range(config.layers)
        )
        self.output = operations.Linear(c, config.output_dim, **factory)

    def forward(self, audio: Tensor, first: Tensor, z: Tensor) -> Tensor:
        """Departure from the first frame, in the normalised units of `first`.

        audio  [B, T, audio_dim]: speech features, one row per video frame
        first  [B, D]: normalised pose and/or blink of the portrait
        z      [B, T, z_dim]: standard normal noise, independent for every frame
        returns [B, T, D]
        """
        frames = audio.shape[1]
        face = self.first_embed(first)[:, None].expand(-1, frames, -1)
        memory = self.memory_embed(torch.cat([face, z, self.audio_embed(audio)], dim=-1))  # [B, T, C]

        query = cast_like(self.query, audio)  # [C]: before the first look at the speech all frames are alike
        if self.config.init_attention:
            query = query + self.init_attention(self.init_norm(query))

        query_band = self._band(self.query_bias, audio) if len(self.layers) > 1 else None
        memory_band = self._band(self.memory_bias, audio)
        for layer in self.layers:
            query = layer(query, memory, query_band, memory_band)
        return self.output(query)

    def _band(self, bias: RelativeBias, audio: Tensor) -> TemporalBand:
        """One plan for all layers: they share their bias table and their rotary frequencies."""
        return temporal_band(
            bias, audio.shape[1], self.config.window, self.config.layer_rotary_dim, audio.device, audio.dtype
        )
