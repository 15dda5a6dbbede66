"""The authors' pose and blink checkpoints, `checkpoint_*.pth.tar` (docs/model.md, "Pose and blink").

The tensors alone do not say which of four near-identical decoders they belong to; the
`opt.yaml` beside the checkpoint names it in `archiname`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import PoseBlinkConfig
from . import KeyTable, Rename, Transform

_STACK = "decoder.seqTransDecoder.decoder_layers"
_INIT = "decoder.init_temporal_attn.fn"
_ANY_LAYER = re.escape(_STACK) + r"\.(\d+)"
_LATER_LAYER = re.escape(_STACK) + r"\.([1-9]\d*)"


def _third(index: int) -> Transform:
    """Query, key or value rows of a joined projection, copied so that the others can be freed."""
    return lambda joined: joined.chunk(3)[index].clone()


_RENAMES = (
    Rename(r"decoder\.firstposeEmbedding\.(weight|bias)", r"first_embed.\1"),
    Rename(r"decoder\.audioEmbedding\.(weight|bias)", r"audio_embed.\1"),
    Rename(r"decoder\.ztimelinear\.(weight|bias)", r"memory_embed.\1"),
    Rename(r"decoder\.init_proj\.bias", "query"),
    Rename(r"decoder\.time_rel_pos_bias_tgt\.relative_attention_bias\.weight", "query_bias.weight"),
    Rename(r"decoder\.time_rel_pos_bias_mem\.relative_attention_bias\.weight", "memory_bias.weight"),
    # The rows of the first layer's queries are all equal: it attends without queries and keys.
    Rename(_LATER_LAYER + r"\.self_attn\.to_qkv\.weight", r"layers.\1.self_attention.to_q.weight", _third(0)),
    Rename(_LATER_LAYER + r"\.self_attn\.to_qkv\.weight", r"layers.\1.self_attention.to_k.weight", _third(1)),
    Rename(_ANY_LAYER + r"\.self_attn\.to_qkv\.weight", r"layers.\1.self_attention.to_v.weight", _third(2)),
    Rename(_ANY_LAYER + r"\.self_attn\.to_out\.weight", r"layers.\1.self_attention.to_out.weight"),
    Rename(
        _ANY_LAYER + r"\.multihead_attn\.(to_q|to_k|to_v|to_out)\.weight",
        r"layers.\1.cross_attention.\2.weight",
    ),
    Rename(_ANY_LAYER + r"\.ffn\.linear1\.(weight|bias)", r"layers.\1.feed_forward.widen.\2"),
    Rename(_ANY_LAYER + r"\.ffn\.linear2\.(weight|bias)", r"layers.\1.feed_forward.narrow.\2"),
    Rename(_ANY_LAYER + r"\.layer_norm1\.(weight|bias)", r"layers.\1.self_norm.\2"),
    Rename(_ANY_LAYER + r"\.layer_norm2\.(weight|bias)", r"layers.\1.cross_norm.\2"),
    Rename(_ANY_LAYER + r"\.layer_norm3\.(weight|bias)", r"layers.\1.feed_forward_norm.\2"),
    Rename(r"decoder\.finallayer\.(weight|bias)", r"output.\1"),
)

_INIT_RENAMES = (
    Rename(re.escape(_INIT) + r"\.norm\.gamma", "init_norm.gain", Tensor.flatten),
    Rename(re.escape(_INIT) + r"\.fn\.to_qkv\.weight", "init_attention.to_v.weight", _third(2)),
    Rename(re.escape(_INIT) + r"\.fn\.to_out\.weight", "init_attention.to_out.weight"),
)

_DROPPED = (
    r"encoder\..*",  # the posterior, for training
    r"decoder\.sequence_pos_encoder\.pe",
    r"decoder\.init_proj\.weight",  # only ever multiplied by zeros
    r".*\.rotary_emb\.freqs",  # constants, verified by pose_blink_config
)


def pose_blink_keys(config: PoseBlinkConfig) -> KeyTable:
    """The table of a variant: reemb8 carries an initial attention that it never applies."""
    if config.init_attention:
        return KeyTable(_RENAMES + _INIT_RENAMES, _DROPPED)
    return KeyTable(_RENAMES, (*_DROPPED, re.escape(_INIT) + r"\..*"))


@dataclass(frozen=True)
class _Variant:
    window: int
    init_attention: bool
    init_rotary_dim: int
    layer_rotary_dim: int
    outputs: tuple[int, ...]


_POSE, _BLINK, _BOTH = 6, 2, 8
_VARIANTS = {
    "transformerreemb5": _Variant(200, True, 4, 4, (_POSE, _BLINK, _BOTH)),
    "transformerreemb6": _Variant(100, True, 4, 4, (_POSE,)),  # its constructor sets the blink width to 0
    "transformerreemb8": _Variant(200, False, 32, 16, (_POSE, _BLINK, _BOTH)),
}


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise ValueError(f"not a pose and blink checkpoint: {key} is missing")
    return state[key]


def _matrix(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    shape = tuple(_tensor(state, key).shape)
    if len(shape) != 2:
        raise ValueError(f"{key} has shape {list(shape)}, expected a matrix")
    return shape


def _verify_frequencies(state: Mapping[str, Tensor], key: str, rotary_dim: int, archiname: str) -> None:
    """The rotary frequencies are built, not loaded; make sure that both are the same."""
    found = _tensor(state, key)
    if found.shape != (rotary_dim // 2,):
        raise ValueError(
            f"opt.yaml says {archiname}, which rotates {rotary_dim} features of a head, but {key} "
            f"rotates {2 * found.numel()}: checkpoint and opt.yaml do not belong together"
        )
    expected = 10000 ** -(torch.arange(0, rotary_dim, 2, dtype=torch.float32) / rotary_dim)
    if not torch.allclose(found.float().cpu(), expected, rtol=1e-3, atol=0):
        raise ValueError(f"{key} holds {found.tolist()}, expected the constants {expected.tolist()}")


def pose_blink_config(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> PoseBlinkConfig:
    """Choose the variant from `opt.yaml`, every size from the tensors (docs/model.md, "Pose and blink").

    Sizes that `opt.yaml` names as well (pos_dim, eye_dim, …) are not trusted: upstream
    overrides them. `max_distance` shapes no tensor and is taken from it (128 if absent).

    Raises ValueError for an unknown variant, or one that the tensors contradict.
    """
    archiname = str(options.get("archiname", "")).strip()
    if archiname not in _VARIANTS:
        raise ValueError(
            f"opt.yaml names the architecture {archiname!r} (archiname); "
            f"known are {', '.join(sorted(_VARIANTS))}"
        )
    variant = _VARIANTS[archiname]

    outputs, latent_dim = _matrix(state, "decoder.finallayer.weight")
    audio_embed_dim, audio_dim = _matrix(state, "decoder.audioEmbedding.weight")
    _, joined_dim = _matrix(state, "decoder.ztimelinear.weight")
    buckets, heads = _matrix(state, "decoder.time_rel_pos_bias_mem.relative_attention_bias.weight")
    ff_dim, _ = _matrix(state, f"{_STACK}.0.ffn.linear1.weight")
    inner_dim, _ = _matrix(state, f"{_STACK}.0.multihead_attn.to_q.weight")
    layers = len({match[1] for key in state if (match := re.match(_ANY_LAYER, key))})

    if outputs not in variant.outputs:
        raise ValueError(
            f"{archiname} makes {' or '.join(map(str, variant.outputs))} values per frame "
            f"(pose {_POSE}, blink {_BLINK}), but decoder.finallayer.weight makes {outputs}"
        )
    _verify_frequencies(state, f"{_INIT}.fn.rotary_emb.freqs", variant.init_rotary_dim, archiname)
    for layer in range(layers):
        for attention in ("self_attn", "multihead_attn"):
            _verify_frequencies(
                state, f"{_STACK}.{layer}.{attention}.rotary_emb.freqs", variant.layer_rotary_dim, archiname
            )
    max_distance = options.get("max_distance", 128)
    if type(max_distance) is not int or max_distance <= buckets // 4:
        raise ValueError(
            f"opt.yaml: max_distance must be a whole number above {buckets // 4}, got {max_distance!r}"
        )

    return PoseBlinkConfig(
        pose_dim=outputs if outputs == _POSE else outputs - _BLINK,
        blink_dim=0 if outputs == _POSE else _BLINK,
        audio_dim=audio_dim,
        audio_embed_dim=audio_embed_dim,
        latent_dim=latent_dim,
        z_dim=joined_dim - latent_dim - audio_embed_dim,
        layers=layers,
        heads=heads,
        head_dim=inner_dim // heads,
        ff_dim=ff_dim,
        bias_buckets=buckets,
        bias_max_distance=max_distance,
        window=variant.window,
        init_attention=variant.init_attention,
        layer_rotary_dim=variant.layer_rotary_dim,
    )
