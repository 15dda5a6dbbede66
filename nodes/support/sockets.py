"""The types on the wires between DAWN nodes, and what travels along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ...dawn_model.config import DawnConfig
from ...dawn_model.structures import AudioFeatures, MotionLatents

DawnModel = io.Custom("DAWN_MODEL")
DawnAudio = io.Custom("DAWN_AUDIO")
DawnPortrait = io.Custom("DAWN_PORTRAIT")
DawnPose = io.Custom("DAWN_POSE")
DawnMotion = io.Custom("DAWN_MOTION")
Floats = io.Custom("FLOATS")
"""One number per frame. Other packs send such lists as FLOATS, or as a list on a FLOAT socket."""

# Core's own types, which older versions do not know: there the sockets stay, for other packs' nodes.
BoundingBox = io.Custom("BOUNDING_BOX")
FaceLandmarks = io.Custom("FACE_LANDMARKS")


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

    def require_model(self, config: DawnConfig) -> None:
        """Raises ValueError when another model sampled this motion: only that one can render it."""
        if (self.model_name, self.latent_size) != (config.name, config.latent_size):
            raise ValueError(
                f"motion: it was sampled by {self.model_name} at {self.latent_size}×{self.latent_size}, and "
                f"{config.name} ({config.latent_size}×{config.latent_size}) can not render it. Connect the same "
                "model to DAWN Sample Motion and DAWN Render Frames, or load the model that a motion file names"
            )
