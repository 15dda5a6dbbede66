"""How many bytes a stage needs beside the weights, so that the host can make room first."""

from __future__ import annotations

from .config import DenoiserConfig, FlowAutoencoderConfig

ACTIVATIONS_PER_LEVEL = 30
"""Full-size activations of the base width that live at once in the denoiser: skips, the block's
input, output and guides, and the projections of a slice of attention."""

DECODER_ACTIVATIONS = 6
"""Picture-size activations of the base width that live at once in the flow autoencoder's decoder."""


def sampling_bytes(config: DenoiserConfig, frames: int, height: int, width: int, item: int) -> int:
    """Peak activation memory of one denoiser call on a clip; `item` is bytes per number."""
    return ACTIVATIONS_PER_LEVEL * config.base_width * frames * height * width * item


def rendering_bytes(config: FlowAutoencoderConfig, frames: int, size: int, item: int) -> int:
    """Peak activation memory of decoding `frames` frames of size × size pixels at once."""
    return DECODER_ACTIVATIONS * config.width * frames * size * size * item
