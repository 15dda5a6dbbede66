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

from ..layers.basic import NORM_EPS, ChannelNorm, cast_like, cast_result


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

    def value_matrices(self, like: Tensor) -> Tensor:
        """The output projection of each value as matrices [1 + heads, D, C_out] in float32, less their mean over C_out.

        First the null values of all heads together, a vector in the first row; then each head's own. Read by applying
        the layer, as the query's.
        """
        identity = torch.eye(self.heads * self.head_dim, dtype=like.dtype, device=like.device)
        per_head = self.to_out(identity).float().unflatten(0, (self.heads, self.head_dim))
        null = cast_like(self.null_kv, per_head)[1] @ per_head.sum(0)
        first = torch.zeros_like(per_head[:1])
        first[0, 0] = null
        matrices = torch.cat([first, per_head])
        return matrices - matrices.mean(-1, keepdim=True)


@dataclass(frozen=True)
class Guides:
    """What a block's three attentions need of the conditions, once per clip.

    query      [3·heads, D, C_in]
    out        [3·(1 + heads), D, C_out]: from values to their centred projections, the norm's gain included
    direction  [N, 3·heads, D]: see ConditionAttention.keys_and_values
    value      [N, 3·(1 + heads), D]: what `out` takes; of the null values, the unit vector of its first row
    products   [N, 3, 1 + heads, 1 + heads], float32: of the centred projections with each other, over C_out; the norm's
               epsilon is added to the null values' own, whose weight is one
    one        that weight, [1] and float32
    """

    query: Tensor
    out: Tensor
    direction: Tensor
    value: Tensor
    products: Tensor
    one: Tensor

    @property
    def of_frames(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is cut like the frames."""
        return self.direction, self.value, self.products


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
        outs = [attention.value_matrices(audio) for attention in attentions]
        value = torch.stack([value for _, value in pairs], dim=1)  # [N, 3, heads, D]
        null = torch.zeros_like(value[:, :, :1])
        null[..., 0] = 1
        value = torch.cat([null, value], dim=2)
        products = torch.stack([self._products(value[:, i], outs[i]) for i in range(len(outs))], dim=1)
        # Cast one by one: a host that is short of memory may keep them on different devices.
        out = [
            matrices * cast_like(attention.out_norm.gain, matrices)
            for attention, matrices in zip(attentions, outs, strict=True)
        ]
        return Guides(
            query=query.to(audio).contiguous(),
            out=torch.cat(out).to(audio),
            direction=torch.cat([direction for direction, _ in pairs], dim=1),
            value=value.flatten(1, 2),
            products=products,
            one=products.new_ones(1),
        )

    @staticmethod
    def _products(value: Tensor, matrices: Tensor) -> Tensor:
        """value [N, 1 + heads, D], matrices [1 + heads, D, C_out] → [N, 1 + heads, 1 + heads]; see Guides."""
        grams = torch.einsum("hdc,kec->hkde", matrices, matrices) / matrices.shape[-1]
        value = value.float()
        products = torch.einsum("hkde,nke->nhkd", grams, value)
        products = (products * value[:, :, None]).sum(-1)
        products[:, 0, 0] += NORM_EPS
        return products

    def forward(self, x: Tensor, base: Tensor, guides: Guides, *of_frames: Tensor) -> Tensor:
        """base + guide. x [N, H, W, C_in], base and result [N, H, W, C_out], base is overwritten; `of_frames` are those
        of the guides, cut like x."""
        direction, value, products = of_frames
        pixels = x.flatten(1, 2).transpose(1, 2)  # [N, C_in, P]

        q = torch.bmm(guides.query.flatten(0, 1).expand(len(x), -1, -1), pixels)
        length = _lengths(q.unflatten(1, (-1, guides.query.shape[1])))  # [N, 3·heads, P]
        towards = torch.bmm(direction.transpose(0, 1), guides.query).transpose(0, 1)
        logit = torch.bmm(towards, pixels)  # [N, 3·heads, P]: all q · direction, without a detour over q
        weight = (logit / length).sigmoid().unflatten(1, (products.shape[1], -1))
        null = guides.one.expand_as(weight[:, :, :1])
        weight = torch.cat([null, weight], dim=2)  # [N, 3, 1 + heads, P], float32
        variance = ((products @ weight) * weight).sum(2, keepdim=True)
        weight = cast_result(torch.mul, weight, variance.rsqrt(), dtype=x.dtype)

        mixed = torch.bmm(value.transpose(0, 1), guides.out).transpose(0, 1)  # [N, 3·(1 + heads), C_out]
        base.flatten(1, 2).baddbmm_(weight.flatten(1, 2).transpose(1, 2), mixed)
        return base


def _lengths(q: Tensor) -> Tensor:
    """Of vectors along the third axis of q [N, groups, D, P], float32, at least 1e-12."""
    if q.device.type == "cpu":  # the norm of its own is slow over such an axis there
        return q.float().square().sum(2).clamp(min=1e-24).sqrt()
    return torch.linalg.vector_norm(q, dim=2, dtype=torch.float32).clamp(min=1e-12)
