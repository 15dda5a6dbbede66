"""Self-attention of the denoiser: windowed over time, full and linear over space.

Each module takes and returns [N, H, W, C] (legend in layers.py), its own norm and the residual
addition included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .basic import NORM_EPS, ChannelNorm, cast_like
from .slices import Slices

CPU_QUERY_BLOCK, GPU_QUERY_BLOCK = 32, 80
"""Frames per block of queries. A block sees itself and one window on either side, so smaller blocks compute
fewer scores that the window hides, and larger ones are fewer and larger multiplications."""


def relative_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Bucket index of query − key distances (docs/model.md, "Denoiser").

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

    rotary [2, F, D/2]: cosine and sine of the angles; the blocks cover all frames once.
    rotation [2, F, heads·D]: the same for the queries and keys of all heads in one go
    """

    rotary: Tensor
    rotation: Tensor
    blocks: tuple[QueryBlock, ...]

    @property
    def frames(self) -> int:
        return self.rotary.shape[1]


class RelativeBias(nn.Module):
    """Learned bias per head and distance bucket, one table for all temporal attentions."""

    def __init__(self, buckets: int, max_distance: int, heads: int, **factory):
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.zeros(buckets, heads, **factory))

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
    size = CPU_QUERY_BLOCK if device.type == "cpu" else GPU_QUERY_BLOCK
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        key_start, key_stop = max(0, start - window), min(frames, stop + window)
        shape = (start - key_start, stop - start, key_stop - stop)
        if shape not in same_shape:
            same_shape[shape] = bias(positions[start:stop], positions[key_start:key_stop], window)[None].to(
                dtype
            )
        blocks.append(QueryBlock(start, stop, key_start, key_stop, same_shape[shape]))
    rotary = torch.stack([angles.cos(), angles.sin()])
    return TemporalBand(rotary, rotary.repeat(1, 1, 2 * bias.weight.shape[1]), tuple(blocks))


def knows_complex_numbers(x: Tensor) -> bool:
    """Whether the device of x does."""
    return x.device.type == "cpu" or x.is_cuda


def rotate_pairs(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate adjacent feature pairs of x [..., F, D] by angles whose cosine and sine are [2, F, D/2] (rotary position
    code), in float32. Where it is of that type and no gradient needs it, x itself is overwritten.

    A pair is a complex number, and the rotation one product, on devices that know such numbers; DirectML, and MPS
    before macOS 14, do not.
    """
    cosine, sine = rotation
    pairs = x.float().unflatten(-1, (-1, 2))
    if knows_complex_numbers(x):
        numbers, turn = torch.view_as_complex(pairs), torch.complex(cosine, sine)
        numbers = numbers * turn if torch.is_grad_enabled() else numbers.mul_(turn)
        return torch.view_as_real(numbers).flatten(-2).to(x.dtype)
    first, second = pairs.unbind(-1)
    if torch.is_grad_enabled():
        turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    else:
        turned = torch.empty_like(pairs)
        torch.mul(first, cosine, out=turned[..., 0]).addcmul_(second, sine, value=-1)
        torch.mul(first, sine, out=turned[..., 1]).addcmul_(second, cosine)
    return turned.flatten(-2).to(x.dtype)


def attend_within_band(q: Tensor, k: Tensor, v: Tensor, band: TemporalBand) -> Tensor:
    """Softmax attention over the frames of a window; q, k, v [batch, heads, F, D] → [batch, F, heads·D]."""
    attended = [
        F.scaled_dot_product_attention(
            q[:, :, block.start : block.stop],
            k[:, :, block.key_start : block.key_stop],
            v[:, :, block.key_start : block.key_stop],
            attn_mask=block.bias,
        )
        for block in band.blocks
    ]
    frames_first = [part.transpose(1, 2).flatten(2) for part in attended]
    return frames_first[0] if len(attended) == 1 else torch.cat(frames_first, dim=1)


class SelfAttention(nn.Module):
    """The layers of attention with residual addition; who attends to whom is the subclass's."""

    def __init__(self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.heads = heads
        self.width = 3 * heads * head_dim
        self.norm = ChannelNorm(channels, **factory)
        self.to_qkv = operations.Linear(channels, self.width, bias=False, **factory)
        self.to_out = operations.Linear(heads * head_dim, channels, bias=False, **factory)


class TemporalAttention(SelfAttention):
    """Each pixel attends over the frames within the window (docs/model.md, "Denoiser")."""

    def forward(self, x: Tensor, band: TemporalBand, slices: Slices, out: Tensor | None = None) -> Tensor:
        """x + attention(x) for x [N, H, W, C]; `out` as in Slices.frames."""
        frames = band.frames
        rotation = band.rotation
        clips, (_, height, width, _) = x.shape[0] // frames, x.shape
        if clips > 1:
            pixels = rearrange(x, "(b f) h w c -> f (b h w) c", b=clips)
            attended = self._attend(pixels, band, rotation)
            return rearrange(attended, "f (b h w) c -> (b f) h w c", b=clips, h=height)
        attended = slices.pixels(
            lambda part: self._attend(part, band, rotation),
            x.flatten(1, 2),
            device=rotation.device,
            width=self.width,
            out=None if out is None else out.flatten(1, 2),
        )
        return attended.unflatten(1, (height, width))

    def _attend(self, x: Tensor, band: TemporalBand, rotation: Tensor) -> Tensor:
        """x [F, pixels, C] → [F, pixels, C]. Between, pixels come first, so that a pixel's frames lie together."""
        inner = self.width // 3
        qk, v = self.to_qkv(self.norm(x.transpose(0, 1))).split([2 * inner, inner], dim=-1)
        q, k = rearrange(
            rotate_pairs(qk, rotation), "p f (two heads d) -> two p heads f d", two=2, heads=self.heads
        )
        v = rearrange(v, "p f (heads d) -> p heads f d", heads=self.heads)
        return self.to_out(attend_within_band(q, k, v, band)).transpose(0, 1).add_(x)


class SpatialAttention(SelfAttention):
    """Full attention over the pixels of each frame (docs/model.md, "Denoiser")."""

    def forward(self, x: Tensor) -> Tensor:
        """x + attention(x) for x [N, H, W, C]."""
        _, height, width, _ = x.shape
        q, k, v = rearrange(
            self.to_qkv(self.norm(x)),
            "n h w (three heads d) -> three n heads (h w) d",
            three=3,
            heads=self.heads,
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(rearrange(attended, "n heads (h w) d -> n h w (heads d)", h=height, w=width))


@dataclass(frozen=True)
class LinearWeights:
    """The weights of a SpatialLinearAttention, arranged for its order of multiplication.

    q, v [C, heads·D], k [heads·D, C]; out [heads·D, C]; bias [C], shared among the heads
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    bias: Tensor


class SpatialLinearAttention(nn.Module):
    """Attention over pixels whose cost is linear in their number (docs/model.md, "Denoiser")."""

    def __init__(self, channels: int, heads: int, head_dim: int, operations: ModuleType = nn, **factory):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.width = 3 * heads * head_dim
        self.norm = ChannelNorm(channels, **factory)
        self.to_qkv = operations.Linear(channels, self.width, bias=False, **factory)
        self.to_out = operations.Linear(heads * head_dim, channels, **factory)

    def prepare(self, like: Tensor) -> LinearWeights:
        """Once per clip. The host may keep the weights where it likes."""
        inner = self.heads * self.head_dim
        q, k, v = self.to_qkv(torch.diag(cast_like(self.norm.gain, like))).split(inner, dim=-1)
        # Not by applying the layer and taking its bias away: in half precision that loses the small weights.
        out, bias = (cast_like(part, like).float() for part in (self.to_out.weight.t(), self.to_out.bias))
        return LinearWeights(
            q=q.contiguous(),
            k=k.t().contiguous(),
            v=v.contiguous(),
            out=(out * self.head_dim**-0.5).to(like).contiguous(),
            bias=(bias / self.heads).to(like),
        )

    def forward(self, x: Tensor, weights: LinearWeights) -> Tensor:
        """x + attention(x) for x [N, H, W, C].

        softmax(q)·(softmax(k)ᵀ·v)·out is multiplied from the middle where there are more pixels than channels:
        then neither values nor the heads' outputs are made for every pixel.
        """
        count, height, width, channels = x.shape
        x = x.flatten(1, 2)
        normalised = F.layer_norm(x, (channels,), None, None, NORM_EPS)
        q = (normalised @ weights.q).unflatten(2, (self.heads, -1)).softmax(-1)  # [N, P, heads, D]
        k = torch.bmm(weights.k.expand(count, -1, -1), normalised.transpose(1, 2)).softmax(-1)
        if height * width > channels:
            seen = rearrange(torch.bmm(k, normalised), "n (heads d) c -> heads (n d) c", heads=self.heads)
            context = torch.bmm(seen, rearrange(weights.v, "c (heads e) -> heads c e", heads=self.heads))
            mixed = torch.bmm(context, weights.out.unflatten(0, (self.heads, -1))) + weights.bias
            factors = q.flatten(2), rearrange(mixed, "heads (n d) c -> n (heads d) c", n=count)
        else:
            v = rearrange(normalised @ weights.v, "n p (heads e) -> n heads p e", heads=self.heads)
            attended = q.transpose(1, 2) @ (k.unflatten(1, (self.heads, -1)) @ v)
            x = x + self.heads * weights.bias
            factors = rearrange(attended, "n heads p e -> n p (heads e)"), weights.out.expand(count, -1, -1)
        return torch.baddbmm(x, *factors).unflatten(1, (height, width))
