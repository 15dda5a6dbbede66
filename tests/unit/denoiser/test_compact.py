"""The embedded model's denoiser: shapes, gradients, and that the samplers get from it what they expect."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from dawn_model.config import DAWN_NANO, DawnConfig
from dawn_model.denoiser import compact as compact_denoiser
from dawn_model.denoiser.compact import (
    CompactDenoiser,
    departure_latents,
    motion_from_departure,
    predicted_noise,
    still_grid,
)
from dawn_model.denoiser.face_code import CHANNELS as PORTRAIT_CHANNELS
from dawn_model.diffusion.sampler import ddim_sample
from dawn_model.diffusion.schedule import cosine_schedule
from dawn_model.flow_autoencoder.warping import warp
from dawn_model.layers.attention import temporal_band
from dawn_model.layers.basic import ClipGroupNorm, normalise_and_activate
from dawn_model.pipeline import SamplingOptions, sample_motion

SMALL = dataclasses.replace(
    DAWN_NANO.denoiser, spatial_widths=(8, 16), width=32, layers=2, head_fields=3, face_fields=4
)


def clip_of(denoiser, frames=3, clips=1, size=16, window=None):
    source = torch.randn(clips, PORTRAIT_CHANNELS, size, size)
    return denoiser.prepare(source, torch.randn(clips, frames, denoiser.config.condition_dim), window)


def first_frames(clip, frames, denoiser):
    """The same clip, had it ended earlier."""
    context, coefficients = clip.context[:, :frames], clip.coefficients[:, :frames]
    band = temporal_band(
        denoiser.temporal_bias, frames, SMALL.window, SMALL.head_dim, context.device, context.dtype
    )
    return dataclasses.replace(clip, context=context, coefficients=coefficients, band=band)


def test_config_survives_json():
    assert DawnConfig.from_json(DAWN_NANO.to_json()) == DAWN_NANO
    authors = DawnConfig()
    assert DawnConfig.from_json(authors.to_json()) == authors


@torch.inference_mode(False)
@torch.enable_grad()
def test_shapes_and_gradients_reach_every_parameter():
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    x = torch.randn(2, 3, 3, 16, 16)
    clean = denoiser(x, torch.tensor([500, 20]), clip_of(denoiser, clips=2))
    assert clean.shape == x.shape
    clean.square().mean().backward()
    without = [name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_clips_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    source, condition = torch.randn(2, PORTRAIT_CHANNELS, 16, 16), torch.randn(2, 5, SMALL.condition_dim)
    x, timestep = torch.randn(2, 3, 5, 16, 16), torch.tensor([700, 90])
    both = denoiser(x, timestep, denoiser.prepare(source, condition))
    for i in range(2):
        part = slice(i, i + 1)
        alone = denoiser(x[part], timestep[part], denoiser.prepare(source[part], condition[part]))
        assert torch.allclose(both[part], alone, atol=1e-4)


def test_composing_by_portions_is_exact(monkeypatch):
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    x, clip = torch.randn(1, 3, 7, 16, 16), clip_of(denoiser, frames=7)
    whole = denoiser(x, torch.tensor([500]), clip)
    monkeypatch.setattr(compact_denoiser, "FRAMES_AT_ONCE", 3)
    assert torch.allclose(denoiser(x, torch.tensor([500]), clip), whole, atol=1e-5)


def test_frames_do_not_depend_on_a_far_future():
    """Nothing but the windows of convolution and attention couples frames."""
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    reach = SMALL.layers * (SMALL.window + 4)
    x, clip = torch.randn(1, 3, reach + 20, 16, 16), clip_of(denoiser, frames=reach + 20)
    whole = denoiser(x, torch.tensor([300]), clip)
    cut = denoiser(x[:, :, : reach + 5], torch.tensor([300]), first_frames(clip, reach + 5, denoiser))
    assert torch.allclose(whole[:, :, :5], cut[:, :, :5], atol=1e-5)
    assert not torch.allclose(whole[:, :, reach : reach + 5], cut[:, :, reach:], atol=1e-5)


def test_the_face_moves_on_the_head():
    """A head field that shifts everything by four cells takes what the face does along."""
    denoiser = CompactDenoiser(dataclasses.replace(SMALL, head_fields=1, face_fields=1))
    fields = torch.zeros(1, 2, 3, 16, 16)
    fields[0, 0, 0] = 4 * 2 / 16 / SMALL.flow_range
    fields[0, 1, 1, 6, 9] = 0.3
    moved = denoiser.compose(torch.ones(1, 1, 2), fields)[0, :, 0]
    assert torch.allclose(moved[0], fields[0, 0, 0])
    assert moved[1].flatten().argmax() == 6 * 16 + 5 and torch.isclose(moved[1].max(), torch.tensor(0.3))


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


def test_border_values_lie_beyond_the_border():
    """As `grid_sample` pads, which not every device can."""
    x, grid = torch.randn(2, 3, 8, 6), torch.rand(2, 5, 7, 2) * 3 - 1.5
    padded = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(compact_denoiser.sample_inside(x, grid), padded, atol=1e-5)


def test_expression_scales_the_noise():
    torch.manual_seed(0)
    denoiser, source = CompactDenoiser(SMALL), torch.randn(1, PORTRAIT_CHANNELS, 16, 16)
    condition = torch.randn(5, SMALL.condition_dim)

    def sample(seed, expression):
        def noise(draw):
            generator = torch.Generator().manual_seed(100 * seed + draw)
            return torch.randn(1, 3, 5, 16, 16, generator=generator)

        return sample_motion(
            denoiser, source, condition, noise, SamplingOptions(steps=2, expression=expression)
        ).flow

    assert torch.equal(sample(1, 0.0), sample(2, 0.0))
    assert not torch.equal(sample(1, 1.0), sample(2, 1.0))
    doubled = sample(1, 2.0)
    denoiser.config = dataclasses.replace(SMALL, expression_gain=2 * SMALL.expression_gain)
    assert torch.equal(sample(1, 1.0), doubled)


@pytest.mark.parametrize("options", [SamplingOptions(steps=4), SamplingOptions(steps=3, sampler="dpmpp_2m")])
def test_a_portrait_that_is_told_nothing_stands_still(options):
    """In the middle of the clip; what this network of random numbers does at its ends is another matter."""
    torch.manual_seed(0)
    denoiser, source = CompactDenoiser(SMALL), torch.randn(1, PORTRAIT_CHANNELS, 16, 16)
    told_nothing, noise = torch.zeros(25, SMALL.condition_dim), lambda draw: torch.randn(1, 3, 25, 16, 16)
    options = dataclasses.replace(options, expression=0.0)
    latents = sample_motion(denoiser, source, told_nothing, noise, options)
    assert torch.allclose(latents.flow[12], still_grid(16, 16, latents.flow), atol=1e-5)
    assert torch.allclose(latents.occlusion[12], torch.ones(1, 16, 16), atol=1e-5)
    told = sample_motion(denoiser, source, torch.randn(25, SMALL.condition_dim), noise, options)
    assert (told.flow - latents.flow)[12].abs().max() > 1e-3, "what is always taken off says nothing"


def test_refuses_sizes_and_conditions():
    denoiser = CompactDenoiser(SMALL)
    with pytest.raises(ValueError, match="multiples of 2"):
        clip_of(denoiser, size=17)
    with pytest.raises(ValueError, match="takes 27"):
        denoiser.prepare(torch.randn(1, PORTRAIT_CHANNELS, 16, 16), torch.randn(1, 3, 26))


def test_sampler_returns_what_a_perfect_network_predicts():
    truth = torch.rand(1, 3, 2, 4, 4) * 8 - 4  # beyond what a threshold would leave
    schedule = cosine_schedule()

    def denoise(x, timestep):
        return predicted_noise(x, truth, schedule.alpha(timestep))

    draw = torch.randn(1, 3, 2, 4, 4)
    found = ddim_sample(denoise, lambda number: draw, schedule, steps=4, eta=1.0, threshold=False)
    assert torch.allclose(found, truth, atol=1e-5)


def test_no_departure_leaves_the_picture():
    picture = torch.rand(1, 3, 16, 16)
    assert torch.allclose(warp(picture, still_grid(16, 16, picture)[None]), picture, atol=1e-5)


def test_departure_is_its_own_inverse():
    displacement, visible = torch.rand(2, 2, 8, 8) * 0.1 - 0.05, torch.rand(2, 1, 8, 8)
    latents = departure_latents(displacement, visible, 0.2)
    flow, occlusion = motion_from_departure(latents.transpose(0, 1)[None], 0.2)
    moved = (flow - still_grid(8, 8, flow)).movedim(-1, 1)
    inside = slice(1, -1)
    assert torch.allclose(moved[..., inside, inside], 2 * displacement[..., inside, inside], atol=1e-6)
    assert flow.abs().max() <= 1 - 1 / 8 + 1e-6, "nothing comes from beyond the picture"
    assert torch.allclose(occlusion, visible, atol=1e-6)


def test_sampling_through_the_pipeline():
    torch.manual_seed(0)
    denoiser = CompactDenoiser(SMALL)
    source = torch.randn(1, PORTRAIT_CHANNELS, 16, 16)
    latents = sample_motion(
        denoiser,
        source,
        torch.randn(5, SMALL.condition_dim),
        lambda draw: torch.randn(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(draw)),
        SamplingOptions(steps=2, guidance=1.5),
    )
    assert latents.flow.shape == (5, 16, 16, 2)
    assert latents.occlusion.min() >= 0 and latents.occlusion.max() <= 1
