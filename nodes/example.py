"""DAWN Example."""

from __future__ import annotations

from comfy_api.latest import io

from .support import media
from .support.node import CATEGORY, DawnNode, schema
from .support.widgets import choice

PORTRAIT, SPEECH, VIDEO = "astronaut.png", "sense_and_sensibility.wav", "head_turns.mp4"


class DawnExample(DawnNode):
    """A portrait, speech and a video that come with this plugin, so that the templates run at once. For your
    own files put Load Image, Load Audio and Load Video in its place."""

    title, category = "DAWN Example", CATEGORY
    aliases = ("example", "sample portrait", "sample speech", "demo")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                choice(
                    "portrait",
                    media.names(media.PORTRAITS),
                    PORTRAIT,
                    "A picture that comes with this plugin. Load Image takes its place for your own picture.",
                ),
                choice(
                    "speech",
                    media.names(media.SPEECH),
                    SPEECH,
                    "A recording that comes with this plugin. Load Audio takes its place for your own voice.",
                ),
                choice(
                    "video",
                    media.names(media.VIDEOS),
                    VIDEO,
                    "A video of a moving head, for DAWN Pose & Blink From Video. Load Video takes its place "
                    "for your own.",
                    optional=True,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The portrait."),
                io.Audio.Output(display_name="audio", tooltip="The speech."),
                io.Video.Output(display_name="video", tooltip="The video of a moving head."),
            ],
        )

    @classmethod
    def execute(cls, portrait: str, speech: str, video: str = VIDEO) -> io.NodeOutput:
        return io.NodeOutput(
            media.load_image(media.path_of(media.PORTRAITS, portrait, "portrait")),
            media.load_audio(media.path_of(media.SPEECH, speech, "speech")),
            media.load_video(media.path_of(media.VIDEOS, video, "video")),
        )
