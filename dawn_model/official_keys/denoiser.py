"""Keys of `DAWN_128.pth` and `DAWN_256.pth`, below their entry `diffusion` (docs/model.md, "Files")."""

from __future__ import annotations

from torch import Tensor

from . import KeyTable, Rename


def _drop_frame_axis(weight: Tensor) -> Tensor:
    """Their convolutions are 3-D with a kernel of one frame: [O, I, 1, k, k] → [O, I, k, k]."""
    return weight.squeeze(2)


def _noisy_channels(weight: Tensor) -> Tensor:
    return _drop_frame_axis(weight[:, :3])


def _constant_channels(weight: Tensor) -> Tensor:
    """Feature and box channels are the same in every frame and step, so they have a layer of their own."""
    return _drop_frame_axis(weight[:, 3:])


def _flat_rows(weight: Tensor) -> Tensor:
    """A 1×1 convolution is a linear layer on channels-last activations."""
    return weight.flatten(1)


def _flat(gain: Tensor) -> Tensor:
    return gain.flatten()


def _convolutions(official: str, ours: str) -> list[Rename]:
    """Two convolutions with group norm and a residual projection; `official` holds one group."""
    lines = [
        Rename(rf"{official}\.res_conv\.weight", f"{ours}.residual.weight", _flat_rows),
        Rename(rf"{official}\.res_conv\.bias", f"{ours}.residual.bias"),
    ]
    for number in (1, 2):
        block = rf"{official}\.block{number}"
        lines += [
            Rename(rf"{block}\.proj\.weight", f"{ours}.conv{number}.weight", _drop_frame_axis),
            Rename(rf"{block}\.proj\.bias", f"{ours}.conv{number}.bias"),
            Rename(rf"{block}\.norm\.(weight|bias)", rf"{ours}.norm{number}.\2"),
        ]
    return lines


def _conditioned_block(official: str, ours: str) -> list[Rename]:
    """A residual block with its condition networks; `official` holds one group."""
    lines = _convolutions(official, ours)
    lines.append(Rename(rf"{official}\.time_mlp\.1\.(weight|bias)", rf"{ours}.time.\2"))
    for mlp, attention, name in (
        ("audio", "aud", "audio"),
        ("pose", "pose", "pose"),
        ("eye", "eye", "blink"),
    ):
        cross, target = rf"{official}\.cross_attn_{attention}", f"{ours}.guidance.{name}"
        lines += [
            Rename(rf"{official}\.{mlp}_mlp\.1\.(weight|bias)", rf"{ours}.{name}.\2"),
            Rename(rf"{cross}\.(null_kv|q_scale|k_scale)", rf"{target}.\2"),
            Rename(rf"{cross}\.(to_q|to_kv)\.weight", rf"{target}.\2.weight"),
            Rename(rf"{cross}\.to_out\.0\.weight", f"{target}.to_out.weight"),
            Rename(rf"{cross}\.norm\.g", f"{target}.norm.gain"),
            Rename(rf"{cross}\.to_out\.1\.g", f"{target}.out_norm.gain"),
        ]
    return lines


def _attention(official: str, ours: str, wrappers: int) -> list[Rename]:
    """Self-attention inside residual and norm wrappers; `official` holds one group."""
    inner = r"\.fn" * wrappers
    return [
        Rename(rf"{official}{inner}\.(to_qkv|to_out)\.weight", rf"{ours}.\2.weight", _flat_rows),
        Rename(rf"{official}{inner}\.to_out\.bias", f"{ours}.to_out.bias"),
        Rename(rf"{official}\.fn\.norm\.gamma", f"{ours}.norm.gain", _flat),
    ]


_NET = r"denoise_fn\."
_LEVEL = rf"{_NET}((?:downs|ups)\.\d+)"

DENOISER_KEYS = KeyTable(
    renames=(
        Rename(rf"{_NET}time_rel_pos_bias\.relative_attention_bias\.weight", "temporal_bias.weight"),
        Rename(rf"{_NET}time_mlp\.1\.(weight|bias)", r"time.linear1.\1"),
        Rename(rf"{_NET}time_mlp\.3\.(weight|bias)", r"time.linear2.\1"),
        Rename(rf"{_NET}init_conv\.weight", "input.weight", _noisy_channels),
        Rename(rf"{_NET}init_conv\.weight", "source.weight", _constant_channels),
        Rename(rf"{_NET}init_conv\.bias", "source.bias"),
        *_attention(rf"{_NET}(init_temporal)_attn", "input_temporal", wrappers=3),
        *_conditioned_block(rf"{_LEVEL}\.0", r"\1.block1"),
        *_conditioned_block(rf"{_LEVEL}\.1", r"\1.block2"),
        *_attention(rf"{_LEVEL}\.2", r"\1.spatial", wrappers=2),
        *_attention(rf"{_LEVEL}\.3", r"\1.temporal", wrappers=3),
        Rename(rf"{_LEVEL}\.4\.weight", r"\1.resample.conv.weight", _drop_frame_axis),
        Rename(rf"{_LEVEL}\.4\.bias", r"\1.resample.conv.bias"),
        *_conditioned_block(rf"{_NET}(mid_block\d)", r"\1"),
        *_attention(rf"{_NET}(mid_spatial)_attn", r"\1", wrappers=3),
        *_attention(rf"{_NET}(mid_temporal)_attn", r"\1", wrappers=3),
        *_convolutions(rf"{_NET}(final_conv)\.0", "flow_head"),
        Rename(rf"{_NET}final_conv\.1\.weight", "flow_head.output.weight", _flat_rows),
        Rename(rf"{_NET}final_conv\.1\.bias", "flow_head.output.bias"),
        *_convolutions(rf"{_NET}(occlusion_map)\.0", "occlusion_head"),
        Rename(rf"{_NET}occlusion_map\.1\.weight", "occlusion_head.output.weight", _flat_rows),
        Rename(rf"{_NET}occlusion_map\.1\.bias", "occlusion_head.output.bias"),
    ),
    dropped=(
        # Rotary frequencies and schedule buffers follow from the configuration.
        r".*\.rotary_emb\.freqs",
        r"betas|(alphas|sqrt|log|posterior)_\w+",
        # The heads are unconditioned; their cross-attentions exist but are never run.
        rf"{_NET}(final_conv|occlusion_map)\.0\.cross_attn_.*",
    ),
)
