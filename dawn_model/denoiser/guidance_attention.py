"""How audio, head pose and blink guide a frame: three cross-attentions onto one vector each
(docs/model.md, "Guidance of the conditions"), in closed form ("Exact shortcuts").

With one real and one null key per condition
- the softmax is a sigmoid of the difference of the two logits,
- the output projection can be applied to the two values before they are mixed,
- and the norm after it only needs the 9 × 9 inner products of those projected values.
What remains per pixel are one projection and 24 weights. Queries are normalised to length one, so the layer
norm before them need not scale; that it centres is a property of the projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.basic import NORM_EPS, ChannelNorm, cast_like


class ConditionAttention(nn.Module):
    """Weights of the attention onto one condition vector and a learned null vector."""

    logit_scale = 8.0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        operations: ModuleType = nn,
        **factory,
    ):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        inner = heads * head_dim
        self.norm = ChannelNorm(in_channels, **factory)
        self.to_q = operations.Linear(in_channels, inner, bias=False, **factory)
        self.to_kv = operations.Linear(context_dim, 2 * inner, bias=False, **factory)
        self.to_out = operations.Linear(inner, out_channels, bias=False, **factory)
        self.out_norm = ChannelNorm(out_channels, **factory)
        self.null_kv = nn.Parameter(torch.zeros(2, head_dim, **factory))
        self.q_scale = nn.Parameter(torch.ones(head_dim, **factory))
        self.k_scale = nn.Parameter(torch.ones(head_dim, **factory))

    def query_matrix(self, like: Tensor) -> Tensor:
        """Centring, norm gain and query projection as one matrix [C_in, heads·D].

        Read by applying the layer, so that the host may keep its weights where it likes.
        """
        matrix = self.to_q(torch.diag(cast_like(self.norm.gain, like))).float()
        return matrix - matrix.mean(0)

    def keys_and_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """context [N, context_dim] → logit direction and value difference, [N, heads, D] each.

        A head's logit difference is its normalised query times the direction.
        """
        kv = self.to_kv(context).unflatten(-1, (2, self.heads, self.head_dim))
        key, value = kv.unbind(1)
        null_key, null_value = cast_like(self.null_kv, context)
        scale = self.logit_scale * cast_like(self.q_scale, context) * cast_like(self.k_scale, context)
        difference = F.normalize(key, dim=-1, eps=1e-12) - F.normalize(null_key, dim=-1, eps=1e-12)
        return difference * scale, value - null_value

    def project(self, value_difference: Tensor) -> Tensor:
        """Projected values [N, 1 + heads, C_out]: all null values, then each head's difference."""
        identity = torch.eye(self.heads, dtype=value_difference.dtype, device=value_difference.device)
        per_head = (value_difference[:, :, None] * identity[:, :, None]).flatten(2)  # [N, heads, heads·D]
        null = cast_like(self.null_kv, value_difference)[1].repeat(self.heads)
        stacked = torch.cat([null.expand(per_head.shape[0], 1, -1), per_head], dim=1)
        return self.to_out(stacked)


@dataclass(frozen=True)
class Guides:
    """What a block's three attentions need of the conditions, once per clip.

    query  [3·heads, D, C_in]
    direction, value  [N, 3, heads, D]: see ConditionAttention.keys_and_values
    """

    query: Tensor
    direction: Tensor
    value: Tensor


class GuidanceAttention(nn.Module):
    """The sum of the attentions onto audio, pose and blink."""

    def __init__(self, in_channels: int, out_channels: int, *sizes, **factory):
        """All arguments are those of each ConditionAttention."""
        super().__init__()
        sizes = in_channels, out_channels, *sizes
        self.audio, self.pose, self.blink = (ConditionAttention(*sizes, **factory) for _ in range(3))
        self.numbers = 2 * 3 * (1 + self.audio.heads) * out_channels
        """Per frame, what `forward` holds whatever the number of pixels."""

    def prepare(self, audio: Tensor, pose: Tensor, blink: Tensor) -> Guides:
        """Condition vectors [N, context_dim] each → what `forward` needs; neither x nor the time enters."""
        attentions = self.audio, self.pose, self.blink
        pairs = [
            attention.keys_and_values(context)
            for attention, context in zip(attentions, (audio, pose, blink), strict=True)
        ]
        matrices = [attention.query_matrix(audio) for attention in attentions]
        query = torch.cat(matrices, dim=1).t().unflatten(0, (-1, attentions[0].head_dim))
        return Guides(
            query=query.to(audio).contiguous(),
            direction=torch.stack([direction for direction, _ in pairs], dim=1),
            value=torch.stack([value for _, value in pairs], dim=1),
        )

    def forward(self, x: Tensor, base: Tensor, query: Tensor, direction: Tensor, value: Tensor) -> Tensor:
        """base + guide. x [N, H, W, C_in], base and result [N, H, W, C_out], base is overwritten; the rest is a
        Guides, its N cut like x's."""
        conditions, heads = direction.shape[1:3]
        pixels = x.flatten(1, 2).transpose(1, 2)  # [N, C_in, P]
        groups = conditions * heads

        query_matrix = query.flatten(0, 1).expand(len(x), -1, -1)
        q = torch.bmm(query_matrix, pixels).unflatten(1, (groups, -1))  # [N, 3·heads, D, P]
        shrink = q.float().square().sum(2).clamp(min=1e-24).rsqrt()  # vector_norm is slow over such an axis
        towards = torch.bmm(direction.flatten(1, 2).transpose(0, 1), query).transpose(0, 1)
        logit = torch.bmm(towards, pixels)  # [N, 3·heads, P]: all q · direction, without a detour over q
        weight = (logit * shrink).sigmoid().unflatten(1, (conditions, heads))
        weight = F.pad(weight, (0, 0, 1, 0), value=1.0)  # [N, 3, 1 + heads, P], float32

        attentions = self.audio, self.pose, self.blink
        projected = torch.stack(
            [attention.project(value[:, i]) for i, attention in enumerate(attentions)], dim=1
        ).float()
        centred = projected - projected.mean(-1, keepdim=True)  # [N, 3, 1 + heads, C_out]
        products = centred @ centred.transpose(-1, -2) / centred.shape[-1]
        variance = ((products @ weight) * weight).sum(2, keepdim=True)
        weight = weight * torch.rsqrt(variance + NORM_EPS)

        # Cast one by one: a host that is short of memory may keep them on different devices.
        gains = torch.stack([cast_like(attention.out_norm.gain, centred) for attention in attentions])
        mixed = (centred * gains[:, None]).to(x.dtype)
        base.flatten(1, 2).baddbmm_(weight.flatten(1, 2).transpose(1, 2).to(x.dtype), mixed.flatten(1, 2))
        return base
