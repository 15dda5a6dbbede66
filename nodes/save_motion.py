"""DAWN Save Motion."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..dawn_model.motion_file import PRECISIONS, MotionFile, write_motion
from .support import motion_folders
from .support.node import MOTION, DawnNode, schema
from .support.output_files import next_output_path
from .support.sockets import MOTION_LATENTS, Motion
from .support.widgets import choice, text


class DawnSaveMotion(DawnNode):
    """Saves sampled motion with its sound into the output folder. DAWN Load Motion brings it back another day,
    to be rendered without sampling again, with this portrait or another."""

    title, category = "DAWN Save Motion", MOTION
    aliases = ("motion latents", "export motion")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                MOTION_LATENTS.input(),
                text(
                    "filename_prefix",
                    "motion/dawn",
                    "Folder and beginning of the file's name, below ComfyUI's output folder. A number follows.",
                ),
                choice(
                    "precision",
                    PRECISIONS,
                    "fp32",
                    "fp32 renders exactly the same frames again. fp16 halves the motion (128 px: 150 KB "
                    "a second; the sound stays as it is) and moves nothing by more than 0.03 pixels.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="file", tooltip="Its name, as DAWN Load Motion lists it.")
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, motion: Motion, filename_prefix: str, precision: str) -> io.NodeOutput:
        path = next_output_path(filename_prefix, motion_folders.SUFFIX)
        waveform, rate = motion.audio["waveform"][0], motion.audio["sample_rate"]
        record = MotionFile(motion.latents, waveform, rate, motion.model_name, motion.latent_size)
        extra = motion_folders.workflow_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        write_motion(path, record, precision, extra)
        name = path.relative_to(folder_paths.get_output_directory()).as_posix()
        # Named as core's savers name theirs, so that a client of the API can fetch the file.
        file = {"filename": path.name, "subfolder": Path(name).parent.as_posix(), "type": "output"}
        shown = [f"{len(motion.latents)} frames: {name}"]
        return io.NodeOutput(f"{name} [output]", ui={"text": shown, "motion": [file]})
