"""DAWN Load Pose & Blink."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..dawn_model.face.portrait import Portrait
from ..dawn_model.head_motion.file import FORMATS, load_head_motion
from ..dawn_model.head_motion.video import REFERENCES, onto_portrait
from .support import stored_files
from .support.model_folders import missing, modified
from .support.motion_folders import SUFFIX as MOTION_SUFFIX
from .support.node import POSE, DawnNode, schema
from .support.pose_track import fit_to_speech, length_input, rest_state
from .support.sockets import PORTRAIT, POSE_BLINK, SPEECH, Speech
from .support.widgets import choice

log = logging.getLogger(__name__)

SAVED = "pose"
"""The subfolder of the output folder that is listed: all of it may hold very many files."""

NOTHING_FOUND = "(no file found)"
SUFFIXES = tuple(f".{format}" for format in FORMATS)


class DawnLoadPoseBlink(DawnNode):
    """Loads head motion and blinks from a CSV table or a safetensors file. Tables may come from a spreadsheet
    or another program, with any frame rate, when they have the columns that DAWN Save Pose & Blink writes."""

    title, category = "DAWN Load Pose & Blink", POSE
    aliases = ("head pose", "import head motion", "csv")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                choice(
                    "file",
                    _names() or [NOTHING_FOUND],
                    "",
                    "Files in ComfyUI's input folder, and those saved in the folder pose of the output "
                    "folder. Press R to see new ones.",
                ),
                SPEECH.input(),
                choice(
                    "reference",
                    REFERENCES,
                    "absolute",
                    "absolute: exactly as saved, for the same portrait. average or first frame: for another "
                    "portrait, which then moves from its own pose as the saved head moved from there.",
                ),
                length_input(),
                PORTRAIT.input("Needed unless the reference is absolute.", optional=True),
            ],
            outputs=[POSE_BLINK.output()],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        """Files saved after the page was loaded are fine, though they are in no list yet."""
        return missing(_path, file) or True

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
    saved = Path(folder_paths.get_output_directory()) / SAVED
    names = [
        *stored_files.files_below(Path(folder_paths.get_input_directory()), SUFFIXES),
        *(f"{SAVED}/{name} [output]" for name in stored_files.files_below(saved, SUFFIXES)),
    ]
    return [name for name in names if not name.removesuffix(" [output]").endswith(MOTION_SUFFIX)]


def _path(file: str) -> Path:
    """Raises ValueError when there is no such file in the input or output folder."""
    if file == NOTHING_FOUND:
        raise ValueError(
            "file: there is none yet. Put a .csv or .safetensors file into ComfyUI's input folder, or save one "
            "with DAWN Save Pose & Blink, then press R to refresh"
        )
    path = stored_files.stored_file(file)
    if path is None:
        raise ValueError(
            f"file: {file[:120]} is not in the input folder or the output folder. Press R to refresh"
        )
    return path
