"""A denoiser of the authors' kind that computes in milliseconds."""

from __future__ import annotations

from dawn_model.config import DenoiserConfig

TINY = DenoiserConfig(
    base_width=16,
    multipliers=(1, 2),
    heads=2,
    head_dim=8,
    groups=4,
    feature_channels=8,
    box_channels=4,
    audio_dim=12,
)
