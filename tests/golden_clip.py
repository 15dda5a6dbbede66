"""A whole clip with the inputs of the golden tensors: from portrait, speech features and head motion to frames."""

from __future__ import annotations

from collections.abc import Mapping

import recipe
import torch
from torch import Tensor, nn

from dawn_model.denoiser.conditioning import condition_rows
from dawn_model.flow_autoencoder.render import render_frames
from dawn_model.pipeline import SamplingOptions, denoiser_source, sample_motion
from dawn_model.structures import FaceState, HeadMotion, MotionLatents

STEPS = {128: 4, 256: 3}
"""Pixels of the picture → sampling steps of its golden clip."""


def make_clip(
    networks: Mapping[str, nn.Module],
    reference: Mapping[str, Tensor],
    size: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[MotionLatents, Tensor]:
    """Sampled latents and frames [F, S, S, 3] of the golden clip of `size` pixels.

    networks: "autoencoder", "box_encoder" and "denoiser", on `device` in `dtype`
    reference: the tensors of golden file e2e128 or e2e256
    """
    left, right, x_min, x_max, y_min, y_max, height, width = reference["in.init_eye_bbox"][0].tolist()
    face = FaceState(
        pose=reference["in.init_pose"][0, :6],
        blink=torch.tensor([left, right]),
        box=torch.tensor([x_min, y_min, x_max, y_max]),
        height=int(height),
        width=int(width),
    )
    motion = HeadMotion(reference["in.dri_pose"], reference["in.dri_blink"])
    condition = condition_rows(reference["in.hubert"], motion, face)
    picture = (reference["in.source_u8"][None].float() / 255).to(device)
    side = picture.shape[-1] // 4

    def noise(draw: int) -> Tensor:
        name = "xT" if draw == 0 else f"noise.{draw - 1}"
        return recipe.normal(f"input.e2e{size}.{name}", 1, 3, len(condition), side, side).to(device)

    features = networks["autoencoder"].encode(picture, dtype)
    source = denoiser_source(features, face, networks["box_encoder"])
    latents = sample_motion(networks["denoiser"], source, condition, noise, SamplingOptions(STEPS[size]))
    return latents, render_frames(networks["autoencoder"], features, latents)
