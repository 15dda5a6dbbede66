"""The types on the wires between DAWN nodes, and what travels along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..dawn_model.structures import AudioFeatures, MotionLatents

CATEGORY = "DAWN"

DawnModel = io.Custom("DAWN_MODEL")
DawnAudio = io.Custom("DAWN_AUDIO")
DawnPortrait = io.Custom("DAWN_PORTRAIT")
DawnPose = io.Custom("DAWN_POSE")
DawnMotion = io.Custom("DAWN_MOTION")
Floats = io.Custom("FLOATS")
"""One number per frame. Other packs send such lists as FLOATS, or as a list on a FLOAT socket."""


@dataclass(frozen=True)
class Speech:
    """DAWN_AUDIO: features per frame, and the sound cut to exactly those frames as core's AUDIO."""

    features: AudioFeatures
    audio: dict[str, Any]


@dataclass(frozen=True)
class Motion:
    """DAWN_MOTION: sampled latents, the sound they belong to, and the model that can render them."""

    latents: MotionLatents
    audio: dict[str, Any]
    model_name: str
    latent_size: int
