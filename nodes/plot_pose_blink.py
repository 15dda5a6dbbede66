"""DAWN Plot Pose & Blink."""

from __future__ import annotations

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui

from ..dawn_model.face.portrait import Portrait
from ..dawn_model.head_motion.plot import SMALLEST, plot_head_motion
from ..dawn_model.head_motion.plot_cursor import plot_with_cursor
from ..dawn_model.structures import HeadMotion
from .support import feedback, host
from .support.node import POSE, DawnNode, schema
from .support.pose_track import rest_state
from .support.preview import preview
from .support.sockets import PORTRAIT, POSE_BLINK, SPEECH, Speech
from .support.widgets import switch, whole

BYTES_PER_PIXEL = 12


class DawnPlotPoseBlink(DawnNode):
    """Draws head motion and blinks over time: the speech, yaw, pitch, roll, size and position, and how far the
    eyes are open. With a moving cursor it makes a video of the plot, to put beside the result."""

    title, category = "DAWN Plot Pose & Blink", POSE
    aliases = ("head pose", "head motion graph", "curves")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                POSE_BLINK.input(),
                SPEECH.input("To see what is heard when.", optional=True),
                PORTRAIT.input("To see how it holds head and eyes, dashed.", optional=True),
                whole(
                    "width",
                    1280,
                    (SMALLEST[0], 4096),
                    "Of the picture, in pixels. 640 by 480 is enough for a moving cursor.",
                    step=8,
                ),
                whole("height", 960, (SMALLEST[1], 4096), "Of the picture, in pixels.", step=8),
                switch(
                    "moving_cursor",
                    False,
                    "One picture per frame with a line at its time and the numbers there, 25 a second, for "
                    "Create Video. 640 by 480 takes 92 MB of memory per second.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="One picture; one per frame with a cursor.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        pose: HeadMotion,
        width: int,
        height: int,
        moving_cursor: bool,
        speech: Speech | None = None,
        portrait: Portrait | None = None,
    ) -> io.NodeOutput:
        frames = len(pose)
        if speech is not None and len(speech.features) != frames:
            raise ValueError(
                f"speech: it has {len(speech.features)} frames and the pose {frames}. Connect the speech that the "
                "pose was made for"
            )
        if moving_cursor:
            _require_memory(frames * width * height * BYTES_PER_PIXEL, frames)
        waveform = None if speech is None else speech.audio["waveform"][0]
        rest = None if portrait is None else rest_state(portrait)
        plot = plot_head_motion(pose, width, height, waveform, rest, room_for_values=moving_cursor)
        images = plot.picture[None]
        if moving_cursor:
            images = plot_with_cursor(plot, feedback.Progress(frames, "plotting").update)
        on_node = preview(lambda: ui.PreviewImage(images[:1]).as_dict())
        return io.NodeOutput(images.to(host.result_device()), ui=on_node)


def _require_memory(needed: int, frames: int) -> None:
    free = mm.get_free_memory(torch.device("cpu"))
    if needed > 0.8 * free:
        raise ValueError(
            f"moving_cursor: {frames} pictures of this size take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of "
            "memory are free. Lower width and height, or switch it off"
        )
