"""How many bytes a stage needs beside the weights, so that the host can make room first."""

from __future__ import annotations

from .config import DenoiserConfig, FlowAutoencoderConfig

CLIP_ACTIVATIONS = 8
"""Whole-clip activations of the base width that live at once in the denoiser: the skips (two in all), the
copy for the heads, a block's input and output, and what the cross-attentions keep."""

SLICE_TEMPORARIES = 4
"""Temporaries of a slice that live at once, in budgets of `Slices`."""

DECODER_ACTIVATIONS = 6
"""Picture-size activations of the base width that live at once in the flow autoencoder's decoder."""


def sampling_bytes(config: DenoiserConfig, frames: int, height: int, width: int, item: int, budget: int) -> int:
    """Peak activation memory of one denoiser call on a clip in slices of `budget` bytes; `item` is
    bytes per number."""
    clip = CLIP_ACTIVATIONS * config.base_width * frames * height * width * item
    return clip + SLICE_TEMPORARIES * budget


def rendering_bytes(config: FlowAutoencoderConfig, frames: int, size: int, item: int) -> int:
    """Peak activation memory of decoding `frames` frames of size × size pixels at once."""
    return DECODER_ACTIVATIONS * config.width * frames * size * size * item
