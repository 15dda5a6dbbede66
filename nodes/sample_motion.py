"""DAWN Sample Motion."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..dawn_model.denoiser.conditioning import denoiser_condition
from ..dawn_model.diffusion.noise import FrameNoise
from ..dawn_model.diffusion.sampler import latent_noise
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.memory import sampling_need
from ..dawn_model.pipeline import SAMPLERS, SamplingOptions, decode_frame, denoiser_source, sample_motion
from ..dawn_model.structures import NOT_FINITE, HeadMotion
from .load_model import LoadedModel
from .support import feedback, host
from .support.node import STAGES, DawnNode, schema
from .support.sockets import MOTION_LATENTS, POSE_BLINK, Motion, Speech, clip_inputs
from .support.widgets import choice, decimal, whole

PREVIEW_EVERY = 4


class DawnSampleMotion(DawnNode):
    """Samples how the picture moves for the whole clip at once: the long step. The result can be rendered again
    without sampling again."""

    title, category = "DAWN Sample Motion", STAGES
    aliases = ("lip sync", "talking", "portrait animation", "diffusion motion")
    advanced = ("eta", "guidance", "window", "sampler", "frames_per_slice")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                *clip_inputs(),
                POSE_BLINK.input(),
                whole(
                    "seed",
                    0,
                    (0, 0xFFFFFFFFFFFFFFFF),
                    "The same seed gives the same clip on every machine, up to rounding.",
                    control_after_generate=True,
                ),
                whole(
                    "steps",
                    0,
                    (0, 200),
                    "Denoising steps; the time grows with them. 0 takes what suits the model: 20 for the "
                    "authors' models, as in the paper, 4 for dawn-nano.",
                ),
                decimal(
                    "eta",
                    1.0,
                    (0.0, 1.0),
                    0.05,
                    "Fresh noise per step of ddim: 1 is the paper's setting, 0 is deterministic.",
                ),
                decimal(
                    "guidance",
                    1.0,
                    (0.0, 10.0),
                    0.1,
                    "Follow speech and pose more strongly than trained. 1 is the paper's setting; "
                    "any other value doubles the time.",
                ),
                whole(
                    "window",
                    0,
                    (0, 1000),
                    "How many frames each frame sees to either side. 0 takes what the model is made for: 40 "
                    "for the authors' models, as in the paper, 12 for dawn-nano.",
                ),
                choice(
                    "sampler",
                    SAMPLERS,
                    "ddim",
                    "ddim is the paper's. dpmpp_2m (DPM-Solver++ of second order) is deterministic, ignores "
                    "eta and needs fewer steps.",
                    optional=True,
                ),
                whole(
                    "frames_per_slice",
                    0,
                    (0, 10000),
                    "How many frames are computed at once. It changes memory and speed, never the result. "
                    "0 chooses: as many as suit the device, fewer if they do not fit into free memory, and if even "
                    "one does not, the clip's intermediate results wait in the computer's own memory. The log "
                    "says what was chosen. dawn-nano needs no slices.",
                    optional=True,
                ),
                decimal(
                    "mouth",
                    1.0,
                    (0.0, 2.0),
                    0.05,
                    "How far the mouth moves, for dawn-nano: 0 leaves it as in the portrait, 1 speaks like most "
                    "people, 2 twice as far. The authors' models have no such control: leave it at 1.",
                    optional=True,
                ),
                decimal(
                    "expression",
                    1.0,
                    (0.0, 2.0),
                    0.05,
                    "How much brows, gaze and smile live beside the speech, for dawn-nano: 0 is a still face, 2 a "
                    "lively one. The authors' models have no such control: leave it at 1.",
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
        speech: Speech,
        pose: HeadMotion,
        seed: int,
        steps: int,
        eta: float,
        guidance: float,
        window: int,
        sampler: str = "ddim",
        frames_per_slice: int = 0,
        mouth: float = 1.0,
        expression: float = 1.0,
    ) -> io.NodeOutput:
        config, frames, size = model.config, len(speech.features), model.config.latent_size
        model.require_features(speech)
        if len(pose) != frames:
            raise ValueError(
                f"pose: it has {len(pose)} frames, and the speech has {frames}. Make it from the same speech "
                "with DAWN Generate Pose & Blink"
            )
        picture, face = portrait.at(config.image_size)
        condition = denoiser_condition(config.denoiser, speech.features.features, pose, face, mouth)
        names = [name for name in ("denoiser", "autoencoder", "box_encoder") if name in model.patchers]
        patchers = [model.patchers[name] for name in names]
        need = sampling_need(
            config.denoiser, frames, size, size, model.dtype.itemsize, patchers[0].load_device
        )
        device, plan = host.load_for(patchers, need, frames_per_slice, "DAWN Sample Motion")
        retry_with_smaller_slices = host.SmallerSlicesOnRetry(plan, "DAWN Sample Motion")
        denoiser, autoencoder = model.network("denoiser"), model.network("autoencoder")
        box_encoder = model.network("box_encoder") if "box_encoder" in names else None
        features = autoencoder.encode(picture.to(device), model.dtype)
        steps = steps or config.denoiser.sampling_steps
        progress = feedback.Progress(steps, "sampling")

        def on_step(step: int, total: int, x0: torch.Tensor) -> None:
            preview = None
            if step % PREVIEW_EVERY == 0 or step == total:
                preview = decode_frame(autoencoder, features, x0, frames // 2, config.denoiser)
            progress.update(step, preview)

        options = SamplingOptions(steps, eta, guidance, window or None, sampler, expression)
        like = torch.zeros((), device=device)
        noise = latent_noise(FrameNoise(seed, "motion"), frames, size, size, like, options.draws)
        latents = sample_motion(
            denoiser,
            denoiser_source(features, face, box_encoder),
            condition.to(device),
            noise,
            options,
            on_step,
            run=lambda call: retry_with_smaller_slices(lambda plan: call(host.cancellable(plan.slices))),
        )
        latents = latents.to(host.result_device())
        if not (latents.flow.isfinite().all() and latents.occlusion.isfinite().all()):
            raise ValueError(NOT_FINITE.format("sampled motion"))
        return io.NodeOutput(Motion(latents, speech.audio, config.name, size))
