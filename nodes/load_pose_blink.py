"""DAWN Load Pose & Blink."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..dawn_model.face.portrait import Portrait
from ..dawn_model.head_motion.file import FORMATS, load_head_motion
from ..dawn_model.head_motion.video import REFERENCES, onto_portrait
from .support import host
from .support.model_folders import modified
from .support.node import POSE, DawnNode, schema
from .support.pose_track import fit_to_speech, length_input, rest_state
from .support.sockets import DawnAudio, DawnPortrait, DawnPose, Speech

log = logging.getLogger(__name__)

SAVED = "pose"
"""The subfolder of the output folder that is listed: all of it may hold very many files."""

NOTHING_FOUND = "(no file found)"
SUFFIXES = tuple(f".{format}" for format in FORMATS)


class DawnLoadPoseBlink(DawnNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DawnLoadPoseBlink",
            "DAWN Load Pose & Blink",
            POSE,
            search_aliases=["head pose", "import head motion", "csv"],
            description=(
                "Loads head motion and blinks from a CSV table or a safetensors file. Tables may come from a "
                "spreadsheet or another program, with any frame rate, when they have the columns that DAWN Save "
                "Pose & Blink writes."
            ),
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_names() or [NOTHING_FOUND],
                    tooltip="Files in ComfyUI's input folder, and those saved in the folder pose of the output "
                    "folder. Press R to see new ones.",
                ),
                DawnAudio.Input("speech"),
                io.Combo.Input(
                    "reference",
                    options=list(REFERENCES),
                    default="absolute",
                    tooltip="absolute: exactly as saved, for the same portrait. average or first frame: for another "
                    "portrait, which then moves from its own pose as the saved head moved from there.",
                ),
                length_input(),
                DawnPortrait.Input(
                    "portrait", optional=True, tooltip="Needed unless the reference is absolute."
                ),
            ],
            outputs=[DawnPose.Output(display_name="pose")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, **_) -> str:
        return modified(_path(file))

    @classmethod
    def execute(
        cls, file: str, speech: Speech, reference: str, length: str, portrait: Portrait | None = None
    ) -> io.NodeOutput:
        path = _path(file)
        try:
            motion = load_head_motion(path)
        except ValueError as error:
            raise ValueError(f"file: {error}") from error
        if reference != "absolute":
            if portrait is None:
                raise ValueError(
                    f"portrait: the reference {reference!r} moves the saved motion onto a portrait, and none is "
                    "connected. Connect one, or choose absolute"
                )
            motion = onto_portrait(motion, rest_state(portrait), reference)
        motion, fitted = fit_to_speech(motion, speech, length, f"file: {file}")
        log.info("DAWN: %s: %s", file, fitted)
        return io.NodeOutput(motion)


def _names() -> list[str]:
    """Files of the input folder as they are, those of the output folder as core marks them."""
    folders = (
        (Path(folder_paths.get_input_directory()), "", ""),
        (Path(folder_paths.get_output_directory()), SAVED, " [output]"),
    )
    return [
        path.relative_to(root).as_posix() + mark
        for root, subfolder, mark in folders
        for path in sorted((root / subfolder).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def _path(file: str) -> Path:
    """Raises ValueError when there is no such file in the input or output folder."""
    if file == NOTHING_FOUND:
        raise ValueError(
            "file: there is none yet. Put a .csv or .safetensors file into ComfyUI's input folder, or save one "
            "with DAWN Save Pose & Blink, then press R to refresh"
        )
    path = host.stored_file(file)
    if path is None:
        raise ValueError(f"file: {file} is not in the input folder or the output folder. Press R to refresh")
    return path
