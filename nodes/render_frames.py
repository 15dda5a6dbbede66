"""DAWN Render Frames."""

from __future__ import annotations

from comfy_api.latest import io

from ..dawn_model.face.mouth import inner_lips
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.flow_autoencoder.render import render_frames
from ..dawn_model.frame_range import LAST, FrameRange
from ..dawn_model.memory import rendering_need
from ..dawn_model.structures import FPS
from .load_model import LoadedModel
from .support import feedback, host
from .support.node import STAGES, DawnNode, schema
from .support.sockets import MODEL, MOTION_LATENTS, PORTRAIT, Motion, frame_outputs
from .support.widgets import whole


class DawnRenderFrames(DawnNode):
    """Renders sampled motion with the portrait. Connect images, audio and fps to Create Video; the audio is as
    long as the video."""

    title, category = "DAWN Render Frames", STAGES
    aliases = ("talking", "portrait animation", "decode motion")
    advanced = ("frames_per_slice",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                MODEL.input(),
                PORTRAIT.input(),
                MOTION_LATENTS.input(),
                whole(
                    "first_frame",
                    0,
                    (0, 10_000_000),
                    "Where to start, counted from 0; 25 frames are a second. The sound is cut to match.",
                    optional=True,
                ),
                whole(
                    "last_frame",
                    LAST,
                    (LAST, 10_000_000),
                    "The last frame to render, itself included. -1 means up to the end.",
                    optional=True,
                ),
                whole(
                    "frames_per_slice",
                    0,
                    (0, 10000),
                    "How many frames are rendered at once. It changes memory and speed, never the result. "
                    "0 chooses: as many as suit the device, fewer if they do not fit into free memory. The log "
                    "says what was chosen.",
                    optional=True,
                ),
            ],
            outputs=frame_outputs(),
        )

    @classmethod
    def execute(
        cls,
        model: LoadedModel,
        portrait: Portrait,
        motion: Motion,
        first_frame: int = 0,
        last_frame: int = LAST,
        frames_per_slice: int = 0,
    ) -> io.NodeOutput:
        config = model.config
        motion.require_model(config)
        chosen = FrameRange(len(motion.latents), first_frame, last_frame)
        latents, frames = chosen.latents(motion.latents), len(chosen)
        picture, face = portrait.at(config.image_size)
        lips = inner_lips(face.points, config.image_size) if latents.shut is not None else None
        patcher = model.patchers["autoencoder"]
        need = rendering_need(
            config.autoencoder, frames, config.image_size, model.dtype.itemsize, patcher.load_device
        )
        device, plan = host.load_for([patcher], need, frames_per_slice, "DAWN Render Frames")
        source = patcher.model.encode(picture.to(device), model.dtype, lips)
        images = host.empty_images(frames, config.image_size, config.image_size, "motion")
        progress, done = feedback.Progress(frames, "rendering"), 0

        def on_slice(finished: int, total: int) -> None:
            nonlocal done
            done = finished
            progress.update(finished)

        retry_with_smaller_slices = host.SmallerSlicesOnRetry(plan, "DAWN Render Frames")
        retry_with_smaller_slices(
            lambda plan: render_frames(patcher.model, source, latents, plan.frames, on_slice, images, done)
        )
        audio = {
            **motion.audio,
            "waveform": chosen.waveform(motion.audio["waveform"], motion.audio["sample_rate"]),
        }
        return io.NodeOutput(images, audio, float(FPS))
