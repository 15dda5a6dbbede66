"""The types on the wires between DAWN nodes, and what travels along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ...dawn_model.config import DawnConfig
from ...dawn_model.structures import AudioFeatures, MotionLatents


@dataclass(frozen=True)
class Wire:
    """type: ComfyUI's name of what travels; name: of its sockets; source, target: tooltips of inputs and outputs."""

    type: str
    name: str
    source: str
    target: str

    def input(self, tooltip: str = "", name: str = "", **options: Any) -> io.Input:
        """`tooltip` follows after where the wire comes from."""
        text = f"{self.source} {tooltip}".strip()
        return io.Custom(self.type).Input(name or self.name, tooltip=text, **options)

    def output(self, **options: Any) -> io.Output:
        return io.Custom(self.type).Output(display_name=self.name, tooltip=self.target, **options)


MODEL = Wire(
    "DAWN_MODEL",
    "model",
    "From DAWN Load Model.",
    "The model, for every DAWN node that asks for one. Use the same for all of them.",
)
SPEECH = Wire(
    "DAWN_AUDIO",
    "speech",
    "From DAWN Encode Audio.",
    "What is said, frame by frame, for DAWN Generate Pose & Blink and DAWN Sample Motion.",
)
PORTRAIT = Wire(
    "DAWN_PORTRAIT",
    "portrait",
    "From DAWN Prepare Portrait.",
    "Who speaks: the picture, the square that is animated, and how the face is held in it.",
)
POSE_BLINK = Wire(
    "DAWN_POSE",
    "pose",
    "How head and lids move: from DAWN Generate Pose & Blink, an editor, a file or a video.",
    "How head and lids move, for DAWN Edit Pose & Blink or DAWN Sample Motion.",
)
MOTION_LATENTS = Wire(
    "DAWN_MOTION",
    "motion",
    "From DAWN Sample Motion, DAWN Motion From Video or DAWN Load Motion.",
    "How the picture moves, with its sound, for DAWN Render Frames, DAWN Paste Back and DAWN Save Motion.",
)


def clip_inputs() -> list[io.Input]:
    """What makes a clip: the model, who speaks, and what is said."""
    return [MODEL.input(), PORTRAIT.input(), SPEECH.input()]


def frame_outputs() -> list[io.Output]:
    """What core's Create Video takes."""
    return [
        io.Image.Output(display_name="images", tooltip="The frames, for Create Video or Save Image."),
        io.Audio.Output(display_name="audio", tooltip="The sound that belongs to them, for Create Video."),
        io.Float.Output(display_name="fps", tooltip="Frames a second, for Create Video: 25."),
    ]


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
