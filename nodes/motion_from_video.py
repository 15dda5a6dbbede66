"""DAWN Motion From Video."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dawn_model.audio.sound import Sound, for_video, to_sound
from ..dawn_model.audio.waveform import align_waveform
from ..dawn_model.checkpoints.official import read_motion_estimator
from ..dawn_model.face.crop import crop_face
from ..dawn_model.face.landmarker import FaceLandmarker, choose_face
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.flow_autoencoder.reenactment import at_video_rate, motion_of_pictures
from ..dawn_model.structures import FPS
from .load_model import LoadedModel
from .support import feedback, host
from .support.node import MOTION, DawnNode, schema
from .support.sockets import MODEL, MOTION_LATENTS, PORTRAIT, Motion
from .support.video_frames import timed_frames
from .support.widgets import decimal

_AT_ONCE = 4
_BYTES_PER_FRAME_AND_PIXEL = 6000
"""Of activations, generously: the hourglasses are 1024 channels wide."""
_SILENT_RATE = 44100


class DawnMotionFromVideo(DawnNode):
    """The portrait does everything that somebody in a video does, lips included: the authors' flow autoencoder
    sees the motion, nothing is sampled. Only for the authors' own files (DAWN_128.pth, DAWN_256.pth). Render it
    with DAWN Render Frames."""

    title, category = "DAWN Motion From Video", MOTION
    aliases = ("reenactment", "face animation", "driving video", "motion transfer")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                MODEL.input("The authors' files as downloaded; no other holds what sees motion."),
                PORTRAIT.input("Best held as the head in the video's first frame."),
                io.MultiType.Input(
                    "video",
                    [io.Video, io.Image],
                    tooltip="A video, or a batch of images. The square round the face of its first frame is cut out of "
                    "all frames: the head should stay in it.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound that goes with it. Without one the clip is silent.",
                ),
                decimal(
                    "images_fps",
                    float(FPS),
                    (0.1, 1000.0),
                    0.01,
                    "Frames a second of a batch of images. A video brings its own.",
                    optional=True,
                ),
            ],
            outputs=[MOTION_LATENTS.output()],
        )

    @classmethod
    def execute(
        cls,
        model: LoadedModel,
        portrait: Portrait,
        video: Any,
        audio: dict[str, Any] | None = None,
        images_fps: float = float(FPS),
    ) -> io.NodeOutput:
        config, size = model.config, model.config.image_size
        if model.estimator_file is None:
            raise ValueError(
                f"model: {config.name} can not see motion in a video. Choose DAWN_128.pth or DAWN_256.pth in DAWN "
                "Load Model: the authors' own files hold what is needed"
            )
        estimator = read_motion_estimator(model.estimator_file, operations=host.OPERATIONS)
        patcher = host.patcher_for(estimator, mm.get_torch_device(), mm.unet_offload_device())
        device = host.load([patcher], _BYTES_PER_FRAME_AND_PIXEL * _AT_ONCE * size**2)
        picture, _ = portrait.at(size)
        progress = feedback.Progress(1, "looking at frame")

        def on_frames(done: int) -> None:
            progress.of(done + 1)
            progress.update(done)

        pictures = _framed(at_video_rate(timed_frames(video, images_fps)), size)
        latents = motion_of_pictures(estimator, picture.to(device), pictures, _AT_ONCE, on_frames)
        given = Sound(torch.zeros(2, 1), _SILENT_RATE) if audio is None else to_sound(audio)
        waveform, rate = for_video(given.waveform, given.rate)
        sound = {"waveform": align_waveform(waveform, rate, len(latents))[None], "sample_rate": rate}
        return io.NodeOutput(Motion(latents, sound, config.name, config.latent_size))


def _framed(pictures: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The square round the face of the first picture, cut out of all of them.

    Raises ValueError when the first picture shows no face.
    """
    first = next(pictures, None)
    if first is None:
        raise ValueError("video: it has no pictures. Choose another file")
    height, width = first.shape[:2]
    faces = FaceLandmarker.load()(first)
    if not faces:
        raise ValueError(
            f"video: no face is found in its first frame ({width}×{height}). Begin where a face is seen from the front "
            "and fills a good part of the picture"
        )
    face = choose_face(faces, height, width)
    crop = crop_face(face.points, height, width, size)
    for picture in itertools.chain([first], pictures):
        yield crop.cut(picture)
