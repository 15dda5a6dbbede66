"""From a prepared portrait and conditions to motion latents (docs/model.md, "A clip, in order")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import CompactConfig, DenoiserConfig
from .denoiser.box_encoder import BoxEncoder, box_mask
from .denoiser.compact import CompactDenoiser, motion_from_departure, predicted_noise
from .denoiser.conditioning import lips_shut
from .denoiser.face_code import face_code
from .denoiser.unet3d import UNet3D
from .diffusion.sampler import Callback, Noise, ddim_sample, dpmpp_2m_sample, guided, motion_channels
from .diffusion.schedule import cosine_schedule, sampling_timesteps, trailing_timesteps
from .flow_autoencoder.autoencoder import FlowAutoencoder, SourceFeatures
from .layers.slices import Slices
from .structures import FaceState, MotionLatents

SAMPLERS = ("ddim", "dpmpp_2m")

RunSliced = Callable[[Callable[[Slices], Tensor]], Tensor]
"""Calls a function with slices; may call it again with smaller ones when memory ran out."""

_STILL_FRAMES = 25
"""Enough that the middle one hardly feels the ends."""


@dataclass(frozen=True)
class SamplingOptions:
    """steps, eta, guidance, sampler: see sampler.py, `eta` is used by "ddim" alone; window: ± frames of temporal
    attention, None = the model's; expression: how far everything goes that the conditions leave open (brows, gaze, a
    smile), for the embedded model alone: a factor of the noise beside the model's own `expression_gain`."""

    steps: int = 20
    eta: float = 1.0
    guidance: float = 1.0
    window: int | None = None
    sampler: str = "ddim"
    expression: float = 1.0

    @property
    def draws(self) -> int:
        """Of noise, the starting point included: DDIM with eta draws anew for every step but the last."""
        return self.steps if self.sampler == "ddim" and self.eta > 0 else 1


def denoiser_source(features: SourceFeatures, face: FaceState, box_encoder: BoxEncoder | None) -> Tensor:
    """What the denoiser sees of the portrait: its features and a code of where the face is.

    The embedded model has no box encoder (None); it gets the whole mesh instead, in float32.
    Returns [1, channels, h, w].
    """
    if box_encoder is None:
        return face_code(features.picture, face, features.deepest.shape[-1])
    size = features.picture.shape[-1]
    mask = box_mask(face.box, face.height, face.width, size).to(features.deepest)
    return torch.cat([features.deepest, box_encoder(mask)], dim=1)


def sample_motion(
    denoiser: UNet3D | CompactDenoiser,
    source: Tensor,
    condition: Tensor,
    noise: Noise,
    options: SamplingOptions,
    callback: Callback | None = None,
    run: RunSliced | None = None,
) -> MotionLatents:
    """Sample the motion of a whole clip.

    source     [1, C, h, w]: from `denoiser_source`
    condition  [F, audio + pose + blink]: from `condition_rows`
    noise      draws [1, 3, F, h, w] in float32
    run        decides how the clip is sliced, for every call of the denoiser; by itself a call changes
               nothing, so one that ran out of memory may be repeated with smaller slices

    The network computes in the dtype of `source`; the latents stay in float32.

    Raises:
        ValueError: when the options name no sampler, or the model can not do what they ask.
    """
    if options.sampler not in SAMPLERS:
        raise ValueError(f"sampler is {options.sampler!r}; choose one of {', '.join(SAMPLERS)}")
    compact = isinstance(denoiser.config, CompactConfig)
    if not compact and options.expression != 1.0:
        raise ValueError(
            f"expression is {options.expression:g}, and this model has no such control. Leave it at 1, or choose "
            "dawn-nano"
        )
    run = run or (lambda call: call(Slices.for_device(source.device)))
    x0 = _sample(denoiser, source, condition, noise, options, callback, run)
    if compact:
        x0 = x0.sub_(_error_at_rest(denoiser, source, condition, options, run))
    flow, occlusion = motion_of(x0, denoiser.config)
    shut = lips_shut(condition.to(source), source) if compact else None
    return MotionLatents(flow, occlusion, shut)


def _sample(
    denoiser: UNet3D | CompactDenoiser,
    source: Tensor,
    condition: Tensor,
    noise: Noise,
    options: SamplingOptions,
    callback: Callback | None,
    run: RunSliced,
) -> Tensor:
    """Arguments of `sample_motion` → latents [1, 3, F, h, w]."""
    compact = isinstance(denoiser.config, CompactConfig)
    compute = source.dtype
    condition = condition.to(source)[None]
    clip = denoiser.prepare(source, condition, options.window)
    schedule = cosine_schedule(denoiser.config.train_timesteps)

    def denoise_with(prepared):
        def denoise(x: Tensor, timestep: int) -> Tensor:
            # Filled on the device: a number sent there would make the host wait for all that is queued.
            now = torch.full((1,), timestep, device=x.device)
            output = run(lambda slices: denoiser(x.to(compute), now, prepared, slices)).float()
            return predicted_noise(x, output, schedule.alpha(timestep)) if compact else output

        return denoise

    denoise = denoise_with(clip)
    if options.guidance != 1.0:
        null = denoiser.prepare(source, torch.zeros_like(condition), options.window)
        denoise = guided(denoise, denoise_with(null), options.guidance)
    gain = options.expression * denoiser.config.expression_gain if compact else 1.0
    drawn = noise if gain == 1.0 else lambda number: gain * noise(number)
    # The embedded model's latents have no bounds that a threshold could hold them to.
    kind = {"threshold": not compact, "spacing": trailing_timesteps if compact else sampling_timesteps}
    if options.sampler == "ddim":
        return ddim_sample(denoise, drawn, schedule, options.steps, options.eta, callback, **kind)
    return dpmpp_2m_sample(denoise, drawn, schedule, options.steps, callback, **kind)


def _error_at_rest(
    denoiser: CompactDenoiser, source: Tensor, condition: Tensor, options: SamplingOptions, run: RunSliced
) -> Tensor:
    """What the embedded model's sampling adds to a portrait that is told nothing, [1, 3, 1, h, w]: an error of the
    network, since such a portrait stands still. Taken off every frame it leaves lips, lids and background where they
    are.

    Sampled without noise, for a few frames: they are alike, whatever the clip's length.
    """
    nothing = condition.new_zeros(_STILL_FRAMES, condition.shape[1])

    def no_noise(number: int) -> Tensor:
        return source.new_zeros(1, 3, _STILL_FRAMES, *source.shape[-2:], dtype=torch.float32)

    latents = _sample(denoiser, source, nothing, no_noise, options, None, run)
    error = latents[:, :, _STILL_FRAMES // 2, None].clone()
    error[:, 2] -= 1  # of a portrait that stands still, all is seen
    return error


def motion_of(x0: Tensor, config: DenoiserConfig | CompactConfig) -> tuple[Tensor, Tensor]:
    """Sampled latents [1, 3, F, h, w] → flow [F, h, w, 2], an absolute grid, and occlusion [F, 1, h, w]."""
    if isinstance(config, CompactConfig):
        return motion_from_departure(x0, config.flow_range)
    return motion_channels(x0)


def decode_frame(
    autoencoder: FlowAutoencoder,
    features: SourceFeatures,
    x0: Tensor,
    frame: int,
    config: DenoiserConfig | CompactConfig,
) -> Tensor:
    """One frame of latents [1, 3, F, h, w] that are still being sampled, RGB [3, S, S], for a preview."""
    flow, occlusion = motion_of(x0[:, :, frame : frame + 1], config)
    return autoencoder.decode(features, flow, occlusion)[0].clamp(0, 1)
