"""DAWN Load Motion."""

from __future__ import annotations

from comfy_api.latest import io

from ..dawn_model.motion_file import read_motion
from ..dawn_model.structures import MotionLatents
from .load_model import LoadedModel
from .support import host, model_folders, motion_folders
from .support.node import MOTION, DawnNode, schema
from .support.sockets import DawnModel, DawnMotion, Motion


class DawnLoadMotion(DawnNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DawnLoadMotion",
            "DAWN Load Motion",
            MOTION,
            search_aliases=["motion latents", "import motion"],
            description=(
                "Brings back motion that DAWN Save Motion wrote, with its sound. Render it with the model that "
                "sampled it and a portrait."
            ),
            inputs=[
                io.Combo.Input(
                    "motion",
                    options=motion_folders.motion_names(),
                    upload=io.UploadType.model,
                    tooltip="A file in the output folder, or one that you upload.",
                ),
                DawnModel.Input(
                    "model",
                    optional=True,
                    tooltip="When connected, a file of another model is refused here already, not only when rendering.",
                ),
            ],
            outputs=[
                DawnMotion.Output(display_name="motion"),
                io.Audio.Output(display_name="audio"),
                io.Int.Output(display_name="frames"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, motion: str, model: LoadedModel | None = None) -> str:
        return model_folders.modified(motion_folders.motion_path(motion))

    @classmethod
    def validate_inputs(cls, motion: str | None = None) -> bool | str:
        """Files saved after the page was loaded are fine, though they are in no list yet."""
        try:
            if motion is not None:  # it comes over a wire
                motion_folders.motion_path(motion)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, motion: str, model: LoadedModel | None = None) -> io.NodeOutput:
        record = read_motion(motion_folders.motion_path(motion))
        audio = {"waveform": record.waveform[None], "sample_rate": record.rate}
        device = host.result_device()
        latents = MotionLatents(record.latents.flow.to(device), record.latents.occlusion.to(device))
        loaded = Motion(latents, audio, record.model_name, record.latent_size)
        if model is not None:
            loaded.require_model(model.config)
        return io.NodeOutput(loaded, audio, len(latents))
