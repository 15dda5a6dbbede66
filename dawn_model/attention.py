"""Self-attention of the denoiser: windowed over time, full and linear over space.

Each module takes and returns [N, H, W, C] (legend in layers.py) and includes its own norm;
the residual addition stays with the caller, where the layer order can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .layers import ChannelNorm, cast_like

QUERY_BLOCK = 80
"""Frames per block of queries. A block sees itself and one window on either side, so
larger blocks waste fewer border keys and need larger score matrices."""


def relative_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Bucket index of query − key distances (specification 5.7, 6.2).

    Half of the buckets are for keys in the future; within a half, near distances have a
    bucket each and far ones share logarithmically wider buckets.
    """
    half = buckets // 2
    exact = half // 2
    magnitude = distance.abs()
    logarithmic = exact + (
        torch.log(magnitude.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    ).to(torch.long)
    bucket = torch.where(magnitude < exact, magnitude, logarithmic.clamp(max=half - 1))
    return bucket + half * (distance < 0)


@dataclass(frozen=True)
class QueryBlock:
    """Queries `start:stop` see keys `key_start:key_stop` under an additive bias [1, heads, queries, keys]."""

    start: int
    stop: int
    key_start: int
    key_stop: int
    bias: Tensor


@dataclass(frozen=True)
class TemporalBand:
    """Everything about temporal attention that depends on the clip's length alone.

    rotary_cos, rotary_sin [F, D/2]; the blocks cover all frames once.
    """

    rotary_cos: Tensor
    rotary_sin: Tensor
    blocks: tuple[QueryBlock, ...]


class RelativeBias(nn.Module):
    """Learned bias per head and distance bucket, one table for all temporal attentions."""

    def __init__(self, buckets: int, max_distance: int, heads: int, dtype=None, device=None):
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.zeros(buckets, heads, dtype=dtype, device=device))

    def forward(self, queries: Tensor, keys: Tensor, window: int) -> Tensor:
        """Frame numbers [Q] and [K] → bias [heads, Q, K], −inf beyond the window."""
        distance = queries[:, None] - keys[None, :]
        bucket = relative_bucket(distance, self.weight.shape[0], self.max_distance)
        bias = rearrange(self.weight.to(queries.device)[bucket], "q k heads -> heads q k")
        return bias.masked_fill(distance.abs() > window, float("-inf"))


def temporal_band(
    bias: RelativeBias, frames: int, window: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> TemporalBand:
    """Plan the temporal attention of a clip: blocks of queries with their ± `window` keys.

    Scores exist only inside the band, so memory and time grow linearly with `frames`.
    """
    positions = torch.arange(frames, device=device)
    frequencies = 10000 ** -(torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)
    angles = positions[:, None].float() * frequencies[None]
    blocks = []
    same_shape: dict[tuple[int, int, int], Tensor] = {}
    for start in range(0, frames, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, frames)
        key_start, key_stop = max(0, start - window), min(frames, stop + window)
        shape = (start - key_start, stop - start, key_stop - stop)
        if shape not in same_shape:
            same_shape[shape] = bias(positions[start:stop], positions[key_start:key_stop], window)[None].to(
                dtype
            )
        blocks.append(QueryBlock(start, stop, key_start, key_stop, same_shape[shape]))
    return TemporalBand(angles.cos().to(dtype), angles.sin().to(dtype), tuple(blocks))


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate adjacent feature pairs of x [..., F, D] by angles [F, D/2] (rotary position code)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def in_slices(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """function(x) computed `size` rows of the first axis at a time; rows must be independent."""
    if x.shape[0] <= size:
        return function(x)
    return torch.cat([function(part) for part in x.split(size)])


class TemporalAttention(nn.Module):
    """Each pixel attends over the frames within the window (specification 5.7)."""

    pixels_per_slice = 512

    def __init__(
        self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, dtype=None, device=None
    ):
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels, dtype, device)
        self.to_qkv = operations.Linear(
            channels, 3 * heads * head_dim, bias=False, dtype=dtype, device=device
        )
        self.to_out = operations.Linear(heads * head_dim, channels, bias=False, dtype=dtype, device=device)

    def forward(self, x: Tensor, band: TemporalBand) -> Tensor:
        """x [N, H, W, C] → [N, H, W, C]."""
        frames = band.rotary_cos.shape[0]
        _, height, width, _ = x.shape
        pixels = rearrange(x, "(b f) h w c -> (b h w) f c", f=frames)
        attended = in_slices(lambda part: self._attend(part, band), pixels, self.pixels_per_slice)
        return rearrange(attended, "(b h w) f c -> (b f) h w c", h=height, w=width)

    def _attend(self, x: Tensor, band: TemporalBand) -> Tensor:
        """x [pixels, F, C] → [pixels, F, C]."""
        q, k, v = rearrange(
            self.to_qkv(self.norm(x)), "p f (three heads d) -> three p heads f d", three=3, heads=self.heads
        )
        q = rotate_pairs(q, band.rotary_cos, band.rotary_sin)
        k = rotate_pairs(k, band.rotary_cos, band.rotary_sin)
        attended = [
            F.scaled_dot_product_attention(
                q[:, :, block.start : block.stop],
                k[:, :, block.key_start : block.key_stop],
                v[:, :, block.key_start : block.key_stop],
                attn_mask=block.bias,
            )
            for block in band.blocks
        ]
        return self.to_out(rearrange(torch.cat(attended, dim=2), "p heads f d -> p f (heads d)"))


class SpatialAttention(nn.Module):
    """Full attention over the pixels of each frame (specification 5.7)."""

    def __init__(
        self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, dtype=None, device=None
    ):
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels, dtype, device)
        self.to_qkv = operations.Linear(
            channels, 3 * heads * head_dim, bias=False, dtype=dtype, device=device
        )
        self.to_out = operations.Linear(heads * head_dim, channels, bias=False, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, H, W, C]."""
        _, height, width, _ = x.shape
        q, k, v = rearrange(
            self.to_qkv(self.norm(x)),
            "n h w (three heads d) -> three n heads (h w) d",
            three=3,
            heads=self.heads,
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(attended, "n heads (h w) d -> n h w (heads d)", h=height, w=width))


class SpatialLinearAttention(nn.Module):
    """Attention over pixels whose cost is linear in their number (specification 5.6)."""

    frames_per_slice = 16

    def __init__(
        self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, dtype=None, device=None
    ):
        super().__init__()
        self.heads = heads
        self.scale = head_dim**-0.5
        self.norm = ChannelNorm(channels, dtype, device)
        self.to_qkv = operations.Linear(
            channels, 3 * heads * head_dim, bias=False, dtype=dtype, device=device
        )
        self.to_out = operations.Linear(heads * head_dim, channels, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, H, W, C] → [N, H, W, C]."""
        return in_slices(self._attend, x, self.frames_per_slice)

    def _attend(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        q, k, v = rearrange(
            self.to_qkv(self.norm(x)),
            "n h w (three heads d) -> three n heads (h w) d",
            three=3,
            heads=self.heads,
        )
        q = q.softmax(dim=-1) * self.scale
        k = k.softmax(dim=-2)
        context = k.transpose(-1, -2) @ v
        return self.to_out(rearrange(q @ context, "n heads (h w) d -> n h w (heads d)", h=height, w=width))


@dataclass(frozen=True)
class TwoKeyCondition:
    """A condition vector per frame, reduced to what its cross-attention needs (specification 9).

    With one real and one null key the softmax is a sigmoid of the difference of two logits,
    and the output projection can be applied to the values before they are mixed.

    direction [N, heads, D]: logit difference = q̂ · direction
    values [N, heads, C]: projected real value minus projected null value, per head
    base [C]: the projected null values of all heads
    """

    direction: Tensor
    values: Tensor
    base: Tensor


class ConditionAttention(nn.Module):
    """Cross-attention of every pixel onto one condition vector of its frame and a learned
    null vector (specification 5.5), in closed form."""

    logit_scale = 8.0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        operations: ModuleType = nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        inner = heads * head_dim
        self.norm = ChannelNorm(in_channels, dtype, device)
        self.to_q = operations.Linear(in_channels, inner, bias=False, dtype=dtype, device=device)
        self.to_kv = operations.Linear(context_dim, 2 * inner, bias=False, dtype=dtype, device=device)
        self.to_out = operations.Linear(inner, out_channels, bias=False, dtype=dtype, device=device)
        self.out_norm = ChannelNorm(out_channels, dtype, device)
        self.null_kv = nn.Parameter(torch.zeros(2, head_dim, dtype=dtype, device=device))
        self.q_scale = nn.Parameter(torch.ones(head_dim, dtype=dtype, device=device))
        self.k_scale = nn.Parameter(torch.ones(head_dim, dtype=dtype, device=device))

    def prepare(self, context: Tensor) -> TwoKeyCondition:
        """context [N, context_dim] → what `forward` needs; it depends on neither x nor the timestep."""
        key, value = rearrange(
            self.to_kv(context), "n (two heads d) -> two n heads d", two=2, heads=self.heads
        )
        null_key, null_value = cast_like(self.null_kv, context)
        key_difference = F.normalize(key, dim=-1, eps=1e-12) - F.normalize(null_key, dim=-1, eps=1e-12)
        scale = self.logit_scale * cast_like(self.q_scale, context) * cast_like(self.k_scale, context)
        # A block-diagonal layout lets the host's own linear layer project each head by itself.
        identity = torch.eye(self.heads, dtype=context.dtype, device=context.device)
        per_head = torch.einsum("nhd,hg->nhgd", value - null_value, identity)
        return TwoKeyCondition(
            direction=key_difference * scale,
            values=self.to_out(rearrange(per_head, "n h g d -> n h (g d)")),
            base=self.to_out(null_value.repeat(self.heads)),
        )

    def forward(self, x: Tensor, condition: TwoKeyCondition) -> Tensor:
        """x [N, H, W, C_in] → [N, H, W, C_out]."""
        _, height, width, _ = x.shape
        q = rearrange(self.to_q(self.norm(x)), "n h w (heads d) -> n (h w) heads d", heads=self.heads)
        q = F.normalize(q, dim=-1, eps=1e-12)
        weight = torch.einsum("nphd,nhd->nph", q, condition.direction).sigmoid()
        mixed = torch.baddbmm(condition.base.expand(weight.shape[0], 1, -1), weight, condition.values)
        return rearrange(self.out_norm(mixed), "n (h w) c -> n h w c", h=height, w=width)
