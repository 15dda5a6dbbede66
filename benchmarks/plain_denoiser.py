"""The denoiser computed literally as docs/model.md describes it: the yardstick for speed, memory and
exactness.

Dense frame × frame scores, 275 input channels for every frame, both keys of every cross-attention through a
softmax, everything recomputed at every call. It works on the authors' own tensors, under their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

HEADS, HEAD_DIM, WINDOW, EPS = 8, 32, 40, 1e-5

State = Mapping[str, Tensor]
"""Keys below `diffusion.denoise_fn.` of DAWN_128.pth."""


def channel_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Over channels of [B, C, F, H, W], biased variance, no bias."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    return (x - mean) / (variance + EPS).sqrt() * gain


def bucket(distance: Tensor) -> Tensor:
    """Of query − key, 32 buckets, farthest distance 32."""
    size = distance.abs()
    far = 8 + (torch.log(size.clamp(min=1).float() / 8) / math.log(32 / 8) * 8).long()
    return torch.where(size < 8, size, far.clamp(max=15)) + 16 * (distance < 0)


def rotary(x: Tensor) -> Tensor:
    """x [..., F, 32]: adjacent pairs turn by frame · 10000^(−2i/32)."""
    frequency = 10000 ** -(torch.arange(0, HEAD_DIM, 2, device=x.device).float() / HEAD_DIM)
    angle = torch.arange(x.shape[-2], device=x.device).float()[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def softmax_attention(state: State, key: str, tokens: Tensor, bias: Tensor | None, turn: bool) -> Tensor:
    """tokens [batch, L, C] → [batch, L, C]."""
    qkv = F.linear(tokens, state[f"{key}.to_qkv.weight"])
    q, k, v = rearrange(qkv, "n l (three h d) -> three n h l d", three=3, h=HEADS)
    q = q * HEAD_DIM**-0.5
    if turn:
        q, k = rotary(q), rotary(k)
    scores = q @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    attended = scores.float().softmax(-1).to(v.dtype) @ v
    return F.linear(rearrange(attended, "n h l d -> n l (h d)"), state[f"{key}.to_out.weight"])


def temporal(state: State, key: str, x: Tensor) -> Tensor:
    frames = x.shape[2]
    position = torch.arange(frames, device=x.device)
    distance = position[:, None] - position[None]
    table = state["time_rel_pos_bias.relative_attention_bias.weight"]
    bias = table[bucket(distance)].permute(2, 0, 1) - 1e8 * (distance.abs() > WINDOW)
    normed = channel_norm(x, state[f"{key}.fn.norm.gamma"])
    tokens = rearrange(normed, "b c f h w -> (b h w) f c")
    attended = softmax_attention(state, f"{key}.fn.fn.fn", tokens, bias, turn=True)
    return x + rearrange(attended, "(b h w) f c -> b c f h w", h=x.shape[3], w=x.shape[4])


def spatial(state: State, key: str, x: Tensor) -> Tensor:
    normed = channel_norm(x, state[f"{key}.fn.norm.gamma"])
    tokens = rearrange(normed, "b c f h w -> (b f) (h w) c")
    attended = softmax_attention(state, f"{key}.fn.fn.fn", tokens, None, turn=False)
    return x + rearrange(attended, "(b f) (h w) c -> b c f h w", f=x.shape[2], h=x.shape[3])


def spatial_linear(state: State, key: str, x: Tensor) -> Tensor:
    frames, height = x.shape[2], x.shape[3]
    flat = rearrange(channel_norm(x, state[f"{key}.fn.norm.gamma"]), "b c f h w -> (b f) c h w")
    qkv = F.conv2d(flat, state[f"{key}.fn.fn.to_qkv.weight"])
    q, k, v = rearrange(qkv, "n (three h d) y x -> three n h d (y x)", three=3, h=HEADS)
    q, k = q.softmax(-2) * HEAD_DIM**-0.5, k.softmax(-1)
    context = torch.einsum("nhdp,nhep->nhde", k, v)
    out = rearrange(torch.einsum("nhde,nhdp->nhep", context, q), "n h e (y x) -> n (h e) y x", y=height)
    out = F.conv2d(out, state[f"{key}.fn.fn.to_out.weight"], state[f"{key}.fn.fn.to_out.bias"])
    return x + rearrange(out, "(b f) c h w -> b c f h w", f=frames)


def cross(state: State, key: str, x: Tensor, context: Tensor) -> Tensor:
    """x [N, P, C] looks at one real and one null key; context [N, 2·C_out]."""
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    normed = (x - mean) / (variance + EPS).sqrt() * state[f"{key}.norm.g"]
    q = rearrange(F.linear(normed, state[f"{key}.to_q.weight"]), "n p (h d) -> n h p d", h=HEADS)
    k, v = rearrange(
        F.linear(context, state[f"{key}.to_kv.weight"]), "n (two h d) -> two n h 1 d", two=2, h=HEADS
    )
    null_k, null_v = (null.expand_as(k) for null in state[f"{key}.null_kv"])
    k, v = torch.cat([null_k, k], dim=2), torch.cat([null_v, v], dim=2)
    q = F.normalize(q, dim=-1) * state[f"{key}.q_scale"]
    k = F.normalize(k, dim=-1) * state[f"{key}.k_scale"]
    weights = (q @ k.transpose(-1, -2) * 8).float().softmax(-1).to(v.dtype)
    out = F.linear(rearrange(weights @ v, "n h p d -> n p (h d)"), state[f"{key}.to_out.0.weight"])
    variance, mean = torch.var_mean(out, -1, correction=0, keepdim=True)
    return (out - mean) / (variance + EPS).sqrt() * state[f"{key}.to_out.1.g"]


def conv_and_norm(
    state: State, key: str, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    x = F.conv3d(x, state[f"{key}.proj.weight"], state[f"{key}.proj.bias"], padding=(0, 1, 1))
    x = F.group_norm(x, 8, state[f"{key}.norm.weight"], state[f"{key}.norm.bias"], EPS)
    if scale_shift is not None:
        scale, shift = (value[:, :, None, None, None] for value in scale_shift)
        x = x * (scale + 1) + shift
    return F.silu(x)


def block(
    state: State, key: str, x: Tensor, time: Tensor | None = None, condition: Tensor | None = None
) -> Tensor:
    """Residual block; without time and condition it is one of the output heads'."""
    residual = x
    if f"{key}.res_conv.weight" in state:
        residual = F.conv3d(x, state[f"{key}.res_conv.weight"], state[f"{key}.res_conv.bias"])
    if condition is None:
        return conv_and_norm(state, f"{key}.block2", conv_and_norm(state, f"{key}.block1", x)) + residual
    batch, _, _, height, _ = x.shape
    pixels = rearrange(x, "b c f h w -> (b f) (h w) c")
    guide = 0
    parts = condition.flatten(0, 1).split([condition.shape[-1] - 8, 6, 2], dim=-1)
    for part, mlp, attention in zip(parts, ("audio", "pose", "eye"), ("aud", "pose", "eye"), strict=True):
        context = F.linear(F.silu(part), state[f"{key}.{mlp}_mlp.1.weight"], state[f"{key}.{mlp}_mlp.1.bias"])
        guide = guide + cross(state, f"{key}.cross_attn_{attention}", pixels, context)
    guide = rearrange(guide, "(b f) (h w) c -> b c f h w", b=batch, h=height)
    modulation = F.linear(F.silu(time), state[f"{key}.time_mlp.1.weight"], state[f"{key}.time_mlp.1.bias"])
    x = conv_and_norm(state, f"{key}.block1", x, modulation.chunk(2, dim=1)) + guide
    return conv_and_norm(state, f"{key}.block2", x) + residual


def time_embedding(state: State, timestep: Tensor, dtype: torch.dtype) -> Tensor:
    frequency = torch.exp(torch.arange(32, device=timestep.device).float() * -(math.log(10000) / 31))
    angle = timestep.float()[:, None] * frequency
    x = torch.cat([angle.sin(), angle.cos()], dim=-1).to(dtype)
    x = F.gelu(F.linear(x, state["time_mlp.1.weight"], state["time_mlp.1.bias"]))
    return F.linear(x, state["time_mlp.3.weight"], state["time_mlp.3.bias"])


def plain_denoiser(state: State, x: Tensor, timestep: Tensor, source: Tensor, condition: Tensor) -> Tensor:
    """x [B, 3, F, h, w], timestep [B], source [B, 272, h, w], condition [B, F, 1032] → noise like x."""
    time = time_embedding(state, timestep, x.dtype)
    x = torch.cat([x, source[:, :, None].expand(-1, -1, x.shape[2], -1, -1)], dim=1)
    x = F.conv3d(x, state["init_conv.weight"], state["init_conv.bias"], padding=(0, 3, 3))
    first = x
    x = temporal(state, "init_temporal_attn", x)
    skips = []
    for level in range(4):
        key = f"downs.{level}"
        x = block(state, f"{key}.0", x, time, condition)
        x = block(state, f"{key}.1", x, time, condition)
        x = temporal(state, f"{key}.3", spatial_linear(state, f"{key}.2", x))
        skips.append(x)
        if level < 3:
            weight, bias = state[f"{key}.4.weight"], state[f"{key}.4.bias"]
            x = F.conv3d(x, weight, bias, stride=(1, 2, 2), padding=(0, 1, 1))
    x = block(state, "mid_block1", x, time, condition)
    x = temporal(state, "mid_temporal_attn", spatial(state, "mid_spatial_attn", x))
    x = block(state, "mid_block2", x, time, condition)
    for level in range(4):
        key = f"ups.{level}"
        x = torch.cat([x, skips.pop()], dim=1)
        x = block(state, f"{key}.0", x, time, condition)
        x = block(state, f"{key}.1", x, time, condition)
        x = temporal(state, f"{key}.3", spatial_linear(state, f"{key}.2", x))
        if level < 3:
            weight, bias = state[f"{key}.4.weight"], state[f"{key}.4.bias"]
            x = F.conv_transpose3d(x, weight, bias, stride=(1, 2, 2), padding=(0, 1, 1))
    x = torch.cat([x, first], dim=1)
    flow = F.conv3d(block(state, "final_conv.0", x), state["final_conv.1.weight"], state["final_conv.1.bias"])
    occlusion = F.conv3d(
        block(state, "occlusion_map.0", x), state["occlusion_map.1.weight"], state["occlusion_map.1.bias"]
    )
    return torch.cat([flow, occlusion], dim=1)
