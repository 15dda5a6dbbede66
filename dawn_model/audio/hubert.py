"""The speech encoder: HuBERT (Hsu et al. 2021), as transformers computes it, 20 seconds at a time.

See docs/model.md, "Speech features". Nothing here reaches for the network: sizes are written down or read
from the tensors, weights are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..official_keys import apply_table
from ..official_keys.hubert import HUBERT_KEYS
from .waveform import normalise, split_clips

OnClip = Callable[[int, int], None]
"""Told after each clip: clips done, clips in all."""


@dataclass(frozen=True)
class HubertSize:
    """Sizes of the HuBERT variants with layer norm throughout (large, x-large). Defaults are large."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    ff_dim: int = 4096
    conv_widths: tuple[int, ...] = (512,) * 7
    position_kernel: int = 128
    position_groups: int = 16


def infer_size(state: Mapping[str, Tensor]) -> HubertSize:
    """Sizes from renamed tensors. All published models have heads of 64 features.

    Raises ValueError when the tensors are not those of a large HuBERT.
    """
    kernel = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    needed = [
        kernel,
        "encoder.layer_norm.weight",
        "encoder.layers.0.feed_forward.intermediate_dense.weight",
        *(f"feature_extractor.conv_layers.{index}.layer_norm.weight" for index in range(7)),
    ]
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(
            "not a large HuBERT speech encoder such as facebook/hubert-large-ls960-ft: "
            f"{missing[0]} is missing"
        )
    width, group_width, kernel_size = state[kernel].shape
    return HubertSize(
        width=width,
        layers=len({key.split(".")[2] for key in state if key.startswith("encoder.layers.")}),
        heads=max(1, width // 64),
        ff_dim=state["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
        conv_widths=tuple(
            state[f"feature_extractor.conv_layers.{index}.conv.weight"].shape[0] for index in range(7)
        ),
        position_kernel=kernel_size,
        position_groups=width // group_width,
    )


def encode_speech(
    encode_clip: Callable[[Tensor], Tensor], speech: Tensor, on_clip: OnClip | None = None
) -> Tensor:
    """A whole sound, 16 kHz [samples] → hidden states [T, width].

    The level is normalised over the whole sound, then every clip of 20 seconds is encoded by
    itself, as upstream does. `encode_clip` maps a normalised signal [1, samples] to hidden states
    [1, T, width]. `on_clip(done, total)` is called after each clip; an exception raised
    there ends the work.
    """
    signal = normalise(speech)
    clips = split_clips(signal.shape[0])
    hidden = []
    for done, (start, stop) in enumerate(clips, start=1):
        hidden.append(encode_clip(signal[None, start:stop])[0])
        if on_clip is not None:
            on_clip(done, len(clips))
    return torch.cat(hidden)


class HubertEncoder(nn.Module):
    """Holds transformers' HubertModel, which a model patcher cannot hold by itself."""

    def __init__(self, size: HubertSize):
        """Raises ImportError, saying why, where transformers cannot be imported."""
        super().__init__()
        try:
            from transformers import HubertConfig, HubertModel  # takes seconds to import
        except (ImportError, RuntimeError) as error:
            reason: BaseException = error
            while reason.__cause__ is not None:  # transformers wraps what really went wrong
                reason = reason.__cause__
            raise ImportError(
                "the HuBERT speech encoder needs the package transformers, whose import failed. If the "
                "reason names torchvision, torch and torchvision are builds that do not fit together "
                f"(CPU beside CUDA, or different versions). The reason: {reason}"
            ) from error
        self.size = size
        self.model = HubertModel(
            HubertConfig(
                hidden_size=size.width,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                intermediate_size=size.ff_dim,
                conv_dim=size.conv_widths,
                conv_kernel=(10, 3, 3, 3, 3, 2, 2),
                conv_stride=(5, 2, 2, 2, 2, 2, 2),
                conv_bias=True,
                feat_extract_norm="layer",
                feat_proj_layer_norm=True,
                do_stable_layer_norm=True,
                num_conv_pos_embeddings=size.position_kernel,
                num_conv_pos_embedding_groups=size.position_groups,
                apply_spec_augment=False,
                mask_time_prob=0.0,
                mask_feature_prob=0.0,
            )
        )
        self.eval().requires_grad_(False)

    def forward(self, signal: Tensor) -> Tensor:
        """Normalised 16 kHz signal [B, samples] → last hidden states [B, T, width], 50 a second.

        The result has the dtype and device of the signal, whatever those of the weights.
        """
        weight = self.model.feature_projection.projection.weight
        return self.model(signal.to(weight)).last_hidden_state.to(signal)

    def all_layers(self, signal: Tensor) -> tuple[Tensor, ...]:
        """What enters each layer, and the last hidden states: layers + 1 tensors [B, T, width].

        Not used by DAWN; other models that ComfyUI's own audio encoder serves need it.
        """
        entered: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple, kwargs: dict) -> None:
            entered.append((args[0] if args else kwargs["hidden_states"]).to(signal))

        # By hooks, as versions of transformers disagree about what the last of their hidden_states is.
        hooks = [
            layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in self.model.encoder.layers
        ]
        try:
            last = self(signal)
        finally:
            for hook in hooks:
                hook.remove()
        return (*entered, last)

    def encode(self, speech: Tensor, on_clip: OnClip | None = None) -> Tensor:
        """A whole sound, 16 kHz [samples] → hidden states [T, width]."""
        return encode_speech(self, speech, on_clip)


def load_hubert(state: Mapping[str, Tensor], size: HubertSize | None = None) -> HubertEncoder:
    """Build the encoder round a state dict, without copying or initialising a weight.

    Accepts the published recogniser (with or without the `hubert.` prefix, either naming of
    the normalised kernel) and files re-keyed for ComfyUI's own audio encoder loader. `size`
    is inferred when not given. Weights keep their dtype.

    Raises ValueError that names missing, unknown and misshapen tensors.
    """
    tensors, origin, unknown = apply_table(state, HUBERT_KEYS)
    size = size or infer_size(tensors)
    with torch.device("meta"):
        encoder = HubertEncoder(size)
    expected = encoder.model.state_dict()
    problems = [
        *(f"missing: {key}" for key in expected if key not in tensors),
        *(f"unknown: {key}" for key in unknown),
        *(f"unknown: {origin[key]}" for key in tensors if key not in expected),
        *(
            f"{origin[key]} has shape {list(tensors[key].shape)}, expected {list(tensor.shape)}"
            for key, tensor in expected.items()
            if key in tensors and tensors[key].shape != tensor.shape
        ),
    ]
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise ValueError(f"these are not the weights of a HuBERT speech encoder: {shown}")
    encoder.model.load_state_dict(tensors, assign=True)
    return encoder
