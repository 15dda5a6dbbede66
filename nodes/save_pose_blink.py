"""DAWN Save Pose & Blink."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io, ui

from ..dawn_model.head_motion.file import FORMATS, save_head_motion
from ..dawn_model.structures import HeadMotion
from .support.node import POSE, DawnNode, schema
from .support.output_files import next_output_path
from .support.sockets import POSE_BLINK
from .support.widgets import choice, text


class DawnSavePoseBlink(DawnNode):
    """Saves head motion and blinks in ComfyUI's output folder: as a table that any spreadsheet opens, or as
    safetensors. Both can be loaded again without loss."""

    title, category = "DAWN Save Pose & Blink", POSE
    aliases = ("head pose", "export head motion", "csv")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                POSE_BLINK.input(),
                text(
                    "filename_prefix",
                    "pose/DAWN",
                    "Folder and beginning of the file's name; a number is added. DAWN Load Pose & Blink "
                    "lists what is in the folder pose.",
                ),
                choice(
                    "format",
                    FORMATS,
                    FORMATS[0],
                    "csv: one row per frame, degrees + right, up and clockwise, to look at and edit. "
                    "safetensors: smaller.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose: HeadMotion, filename_prefix: str, format: str) -> io.NodeOutput:
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}; choose one of {', '.join(FORMATS)}")
        file = next_output_path(filename_prefix, f".{format}")
        save_head_motion(pose, file)
        shown = file.relative_to(folder_paths.get_output_directory()).as_posix()
        return io.NodeOutput(ui=ui.PreviewText(f"{len(pose)} frames saved as {shown} in the output folder"))
