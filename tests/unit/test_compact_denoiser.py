"""The embedded model's denoiser: shapes, gradients, and that the samplers get from it what they expect."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from dawn_model.compact_denoiser import (
    CompactDenoiser,
    departure_latents,
    motion_from_departure,
    predicted_noise,
    still_grid,
)
from dawn_model.config import DAWN_NANO, DawnConfig, DenoiserConfig
from dawn_model.layers import ClipGroupNorm, normalise_and_activate
from dawn_model.pipeline import SamplingOptions, sample_motion
from dawn_model.sampler import ddim_sample
from dawn_model.schedule import cosine_schedule
from dawn_model.warping import warp

SMALL = dataclasses.replace(DAWN_NANO.denoiser, base_width=8, multipliers=(1, 2), feature_channels=6)


def clip_of(denoiser, frames=3, clips=1, size=16):
    config = denoiser.config
    source = torch.randn(clips, config.feature_channels + config.box_channels, size, size)
    return denoiser.prepare(source, torch.randn(clips, frames, config.condition_dim))


def test_config_survives_json():
    assert DawnConfig.from_json(DAWN_NANO.to_json()) == DAWN_NANO


@torch.inference_mode(False)
@torch.enable_grad()
def test_shapes_and_gradients_reach_every_parameter():
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if name.endswith("null_kv"):
                parameter.normal_()
    x = torch.randn(2, 3, 3, 16, 16)
    clean = denoiser(x, torch.tensor([500, 20]), clip_of(denoiser, clips=2))
    assert clean.shape == x.shape
    clean.square().mean().backward()
    without = [name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@torch.inference_mode(False)
@torch.enable_grad()
def test_clip_norm_has_the_gradients_of_a_group_norm():
    """The norms gather statistics by themselves; training goes through them."""
    torch.manual_seed(0)
    norm = ClipGroupNorm(2, 4)
    x = torch.randn(6, 3, 3, 4, requires_grad=True)  # two clips of three frames
    statistics = norm.statistics(2)
    ours = normalise_and_activate(statistics.add(x), norm.affine(statistics, x.dtype))
    folded = x.reshape(2, 9, 3, 4).permute(0, 3, 1, 2)
    theirs = F.silu(F.group_norm(folded, 2, norm.weight, norm.bias)).permute(0, 2, 3, 1).reshape(x.shape)
    assert torch.allclose(ours, theirs, atol=1e-5)
    weight = torch.randn_like(x)
    mine, reference = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs))
    assert torch.allclose(mine, reference, atol=1e-5)


def test_patch_of_a_cell_stays_where_it_is():
    """Heads that copy their input's patches put every cell back in its place."""
    denoiser = CompactDenoiser(SMALL)
    x = torch.arange(3 * 16 * 16.0).reshape(1, 3, 1, 16, 16)
    seen = {}

    def remember(patches, *_):
        seen["patches"] = patches
        return patches

    forward = CompactDenoiser.__mro__[1].forward
    try:
        CompactDenoiser.__mro__[1].forward = lambda self, *inputs: remember(*inputs)
        assert torch.equal(denoiser(x, torch.tensor([1]), None), x)
    finally:
        CompactDenoiser.__mro__[1].forward = forward
    assert seen["patches"].shape == (1, 12, 1, 8, 8)


def test_refuses_sizes_and_configurations():
    denoiser = CompactDenoiser(SMALL)
    with pytest.raises(ValueError, match="multiples of 4"):
        clip_of(denoiser, size=18)
    with pytest.raises(ValueError, match="compact"):
        CompactDenoiser(DenoiserConfig())


def test_sampler_returns_what_a_perfect_network_predicts():
    truth = torch.rand(1, 3, 2, 4, 4) * 1.6 - 0.8
    schedule = cosine_schedule()

    def denoise(x, timestep):
        return predicted_noise(x, truth, schedule.alpha(timestep))

    found = ddim_sample(denoise, lambda draw: torch.randn(1, 3, 2, 4, 4), schedule, steps=4, eta=1.0)
    assert torch.allclose(found, truth, atol=1e-5)


def test_no_departure_leaves_the_picture():
    picture = torch.rand(1, 3, 16, 16)
    assert torch.allclose(warp(picture, still_grid(16, 16, picture)[None]), picture, atol=1e-5)


def test_departure_is_its_own_inverse():
    displacement, visible = torch.rand(2, 2, 8, 8) * 0.1 - 0.05, torch.rand(2, 1, 8, 8)
    latents = departure_latents(displacement, visible, 0.2)
    flow, occlusion = motion_from_departure(latents.transpose(0, 1)[None], 0.2)
    assert torch.allclose((flow - still_grid(8, 8, flow)).movedim(-1, 1), 2 * displacement, atol=1e-6)
    assert torch.allclose(occlusion, visible, atol=1e-6)


def test_sampling_through_the_pipeline():
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    source = torch.randn(1, SMALL.feature_channels + SMALL.box_channels, 16, 16)
    latents = sample_motion(
        denoiser,
        source,
        torch.randn(5, SMALL.condition_dim),
        lambda draw: torch.randn(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(draw)),
        SamplingOptions(steps=2, guidance=1.5),
    )
    assert latents.flow.shape == (5, 16, 16, 2)
    assert latents.occlusion.min() >= 0 and latents.occlusion.max() <= 1
