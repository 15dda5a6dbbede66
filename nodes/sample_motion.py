"""DAWN Sample Motion."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io

from ..dawn_model.conditioning import condition_rows
from ..dawn_model.memory import sampling_bytes
from ..dawn_model.noise import FrameNoise
from ..dawn_model.pipeline import SamplingOptions, decode_frame, denoiser_source, sample_motion
from ..dawn_model.portrait import Portrait
from ..dawn_model.sampler import latent_noise
from ..dawn_model.slices import Slices
from ..dawn_model.structures import HeadMotion, MotionLatents
from . import host
from .load_model import LoadedModel
from .sockets import CATEGORY, DawnAudio, DawnModel, DawnMotion, DawnPortrait, DawnPose, Motion, Speech

log = logging.getLogger(__name__)

PREVIEW_EVERY = 4


class DawnSampleMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DawnSampleMotion",
            display_name="DAWN Sample Motion",
            category=CATEGORY,
            description=(
                "Samples how the picture moves for the whole clip at once: the long step. The result can be "
                "rendered again without sampling again."
            ),
            inputs=[
                DawnModel.Input("model"),
                DawnPortrait.Input("portrait"),
                DawnAudio.Input("speech"),
                DawnPose.Input("pose"),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives the same clip on every machine, up to rounding.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=200,
                    tooltip="Denoising steps; the time grows with them. Paper: 20.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Fresh noise per step: 1 is the paper's setting, 0 is deterministic DDIM.",
                ),
                io.Float.Input(
                    "guidance",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="Follow speech and pose more strongly than trained. 1 is the paper's setting; "
                    "any other value doubles the time.",
                ),
                io.Int.Input(
                    "window",
                    default=40,
                    min=1,
                    max=1000,
                    tooltip="How many frames each frame sees to either side. Paper: 40.",
                ),
            ],
            outputs=[DawnMotion.Output(display_name="motion")],
        )

    @classmethod
    def execute(
        cls,
        model: LoadedModel,
        portrait: Portrait,
        speech: Speech,
        pose: HeadMotion,
        seed: int,
        steps: int,
        eta: float,
        guidance: float,
        window: int,
    ) -> io.NodeOutput:
        config, frames, size = model.config, len(speech.features), model.config.latent_size
        model.require_features(speech)
        if len(pose) != frames:
            raise ValueError(
                f"pose: it has {len(pose)} frames, and the speech has {frames}. Make it from the same speech "
                "with DAWN Generate Pose & Blink"
            )
        picture, face = portrait.at(config.image_size)
        condition = condition_rows(speech.features.features, pose, face)
        names = [name for name in ("denoiser", "autoencoder", "box_encoder") if name in model.patchers]
        budget = Slices.for_device(model.patchers["denoiser"].load_device).budget
        memory = sampling_bytes(config.denoiser, frames, size, size, model.dtype.itemsize, budget)
        device = host.load([model.patchers[name] for name in names], memory)
        denoiser, autoencoder = model.network("denoiser"), model.network("autoencoder")
        box_encoder = model.network("box_encoder") if "box_encoder" in names else None
        features = autoencoder.encode(picture.to(device), model.dtype)
        progress = host.Progress(steps)

        def on_step(step: int, total: int, x0: torch.Tensor) -> None:
            preview = None
            if step % PREVIEW_EVERY == 0 or step == total:
                preview = decode_frame(autoencoder, features, x0, frames // 2, config.denoiser)
            progress.update(step, preview)

        noise = latent_noise(
            FrameNoise(seed, "motion"), frames, size, size, like=torch.zeros((), device=device)
        )
        latents = sample_motion(
            denoiser,
            denoiser_source(features, face, box_encoder),
            condition.to(device),
            noise,
            SamplingOptions(steps, eta, guidance, window),
            on_step,
        )
        target = host.result_device()
        latents = MotionLatents(latents.flow.to(target), latents.occlusion.to(target))
        return io.NodeOutput(Motion(latents, speech.audio, config.name, size))
