"""DAWN Load Motion."""

from __future__ import annotations

from comfy_api.latest import io

from ..dawn_model.motion_file import read_motion
from .load_model import LoadedModel
from .support import host, model_folders, motion_folders
from .support.node import MOTION, DawnNode, schema
from .support.sockets import MODEL, MOTION_LATENTS, Motion
from .support.widgets import choice


class DawnLoadMotion(DawnNode):
    """Brings back motion that DAWN Save Motion wrote, with its sound. Render it with the model that sampled it
    and a portrait."""

    title, category = "DAWN Load Motion", MOTION
    aliases = ("motion latents", "import motion")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                choice(
                    "motion",
                    motion_folders.motion_names(),
                    "",
                    "A file that DAWN Save Motion wrote into the output folder, or one that you put into the input "
                    "folder. Press R to see new ones.",
                ),
                MODEL.input(
                    "When connected, a file of another model is refused here already, not only when rendering.",
                    optional=True,
                ),
            ],
            outputs=[
                MOTION_LATENTS.output(),
                io.Audio.Output(display_name="audio", tooltip="The sound that was saved with it."),
                io.Int.Output(display_name="frames", tooltip="How many, 25 a second."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, motion: str, model: LoadedModel | None = None) -> str:
        return model_folders.modified(motion_folders.motion_path(motion))

    @classmethod
    def validate_inputs(cls, motion: str | None = None) -> bool | str:
        """Files saved after the page was loaded are fine, though they are in no list yet."""
        return model_folders.missing(motion_folders.motion_path, motion) or True

    @classmethod
    def execute(cls, motion: str, model: LoadedModel | None = None) -> io.NodeOutput:
        record = read_motion(motion_folders.motion_path(motion))
        audio = {"waveform": record.waveform[None], "sample_rate": record.rate}
        latents = record.latents.to(host.result_device())
        loaded = Motion(latents, audio, record.model_name, record.latent_size)
        if model is not None:
            loaded.require_model(model.config)
        return io.NodeOutput(loaded, audio, len(latents))
