"""The denoiser against the golden tensors and against plain computations."""

from __future__ import annotations

import copy

import pytest
import recipe
import torch
import torch.nn.functional as F
from tiny import TINY

from dawn_model.denoiser.guidance_attention import GuidanceAttention
from dawn_model.denoiser.unet3d import UNet3D
from dawn_model.layers.attention import (
    RelativeBias,
    TemporalAttention,
    relative_bucket,
    rotate_pairs,
    temporal_band,
)
from dawn_model.layers.basic import ClipGroupNorm, native_moments, reduced_moments
from dawn_model.layers.slices import WHOLE, Slices

TOLERANCE = 5e-5


def inputs(case: str, clips: int, frames: int, size: int):
    frame_axis = (frames,) if case.startswith("general") else ()
    x = recipe.normal(f"input.unet.{case}.x", clips, 3, frames, size, size)
    feature = recipe.normal(f"input.unet.{case}.fea", clips, 256, *frame_axis, size, size)
    mask = recipe.normal(f"input.unet.{case}.mask", clips, 16, *frame_axis, size, size)
    condition = recipe.normal(f"input.unet.{case}.cond", clips, frames, 1032)
    return x, torch.cat([feature, mask], dim=1), condition


@pytest.mark.parametrize(
    ("case", "clips", "frames", "size"),
    [
        ("f1_s8", 1, 1, 8),
        ("f3_s8", 1, 3, 8),
        ("general_f3_s8", 1, 3, 8),
        ("b2_f3_s8", 2, 3, 8),
        ("f6_s16", 1, 6, 16),
        ("f4_s32", 1, 4, 32),
        ("f50_s8", 1, 50, 8),
        ("f100_s8", 1, 100, 8),
        ("f2_s64", 1, 2, 64),
    ],
)
def test_golden_outputs(unet, golden, case, clips, frames, size):
    expected = {key: value for key, value in golden("unet").items() if key.startswith(f"{case}.out")}
    assert expected
    x, source, condition = inputs(case, clips, frames, size)
    real = unet.prepare(source, condition)
    null = unet.prepare(source, torch.zeros_like(condition))
    for key, reference in expected.items():
        timesteps, scale = key.split(".out.t")[1].split(".cs")
        timestep = torch.tensor([int(t) for t in timesteps.split("_")])
        if scale == "null":
            output = unet(x, timestep, null)
        else:
            output = unet(x, timestep, real)
            if float(scale) != 1:
                unguided = unet(x, timestep, null)
                output = unguided + (output - unguided) * float(scale)
        assert (output - reference).abs().max() < TOLERANCE, key


TRACE = {
    "init_temporal_attn": "input_temporal",
    "mid_spatial_attn": "mid_spatial",
    "mid_temporal_attn": "mid_temporal",
}
PARTS = {"0": "block1", "1": "block2", "2": "spatial", "3": "temporal", "4": "resample"}


def test_golden_trace_of_every_submodule(unet, golden):
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _, args, out, name=name: outputs.__setitem__(name, out))
        for name, module in unet.named_modules()
    ]
    x, source, condition = inputs("f3_s8", 1, 3, 8)
    unet(x, torch.tensor([500]), unet.prepare(source, condition))
    for hook in hooks:
        hook.remove()
    compared = 0
    for name, reference in golden("unet_trace_f3_s8").items():
        if name in ("init_conv", "time_mlp"):
            continue
        ours = TRACE.get(name, name)
        if name.startswith(("downs", "ups")):
            stem, part = name.rsplit(".", 1)
            ours = f"{stem}.{PARTS[part]}"
        if ours in ("downs.3.resample", "ups.3.resample"):  # no layer: what the level before it made
            ours = ours.replace("resample", "temporal")
        output = outputs[ours].permute(3, 0, 1, 2)[None]
        assert (output - reference).abs().max() < TOLERANCE, name
        compared += 1
    assert compared == 45


def test_golden_parts(unet, golden):
    parts = golden("unet_parts")
    level = unet.downs[0]

    def frames_first(x):
        return x[0].permute(1, 2, 3, 0)

    def close(output, name):
        assert (output.permute(3, 0, 1, 2)[None] - parts[name]).abs().max() < TOLERANCE, name

    def band(frames):
        return temporal_band(unet.temporal_bias, frames, 40, 32, torch.device("cpu"), torch.float32)

    x = frames_first(recipe.normal("input.tattn.x", 1, 64, 100, 2, 2))
    close(unet.input_temporal(x, band(100), WHOLE), "tattn.n100.residual")
    x = frames_first(recipe.normal("input.tattn.mid.x", 1, 512, 100, 1, 1))
    close(unet.mid_temporal(x, band(100), WHOLE), "tattn.mid.n100.residual")
    x = frames_first(recipe.normal("input.sattn.mid.x", 1, 512, 2, 4, 4))
    close(unet.mid_spatial(x), "sattn.mid.f2.4x4.residual")
    x = frames_first(recipe.normal("input.slin.x", 1, 64, 2, 6, 6))
    close(level.spatial(x, level.spatial.prepare(x)), "slinattn.downs0.f2.6x6.residual")
    x = frames_first(recipe.normal("input.resample.x", 1, 64, 2, 6, 6))
    close(level.resample(x), "downsample.downs0")
    x = frames_first(recipe.normal("input.upsample.x", 1, 64, 2, 3, 3))
    close(unet.ups[2].resample(x), "upsample.ups2")
    x = frames_first(recipe.normal("input.final.x", 1, 128, 2, 4, 4))
    close(unet.flow_head((x,), 1, x.device, WHOLE), "final_conv")
    close(unet.occlusion_head((x,), 1, x.device, WHOLE), "occlusion_map")

    condition = recipe.normal("input.block.cond", 1, 3, 1032)[0]
    time = F.silu(unet.time(torch.tensor([500]), torch.float32))
    for name, key, block in (("", "downs0_0", level.block1), ("2", "downs1_0", unet.downs[1].block1)):
        x = frames_first(recipe.normal(f"input.block{name}.x", 1, 64, 3, 4, 4))
        guides = block.prepare(condition)
        close(block((x,), time, guides, WHOLE), f"block.{key}.out")
        if key == "downs0_0":
            total = sum(parts[f"block.{key}.cross_attn_{name}"] for name in ("pose", "aud", "eye"))
            guided = block.guidance(x, torch.zeros(3, 4, 4, 64), guides, *guides.of_frames)
            assert (guided.flatten(1, 2) - total).abs().max() < TOLERANCE
    times = unet.time(parts["time.t"], torch.float32)
    assert (unet.time.sinusoids(parts["time.t"]) - parts["time.sinusoid"]).abs().max() < TOLERANCE
    assert (times - parts["time.mlp"]).abs().max() < TOLERANCE


def test_rotary_without_complex_numbers(monkeypatch):
    band = temporal_band(RelativeBias(32, 32, 8), 50, 40, 32, torch.device("cpu"), torch.float32)
    x = torch.randn(2, 8, 50, 32)
    expected = rotate_pairs(x.clone(), band.rotary)
    monkeypatch.setattr("dawn_model.layers.attention.knows_complex_numbers", lambda x: False)
    with torch.inference_mode():
        assert torch.allclose(rotate_pairs(x.clone(), band.rotary), expected, atol=1e-6)
    assert torch.allclose(rotate_pairs(x.clone(), band.rotary), expected, atol=1e-6)


def test_golden_buckets_and_rotary(unet, golden):
    parts = golden("unet_parts")
    distance = -torch.arange(-300, 301)
    expected = parts["bucket.unet(num_buckets=32,max_distance=32).relpos_k_minus_q=-300..300"]
    assert torch.equal(relative_bucket(distance, 32, 32).int(), expected)
    positions = torch.arange(130)
    bias = unet.temporal_bias(positions, positions, window=40)
    assert torch.equal(bias.clamp(min=-1e8), parts["unet.rel_pos_bias.n130"])
    q = recipe.normal("input.rotary.q", 1, 8, 100, 32)
    band = temporal_band(unet.temporal_bias, 100, 40, 32, q.device, q.dtype)
    rotated = rotate_pairs(q, band.rotary)
    assert (rotated - parts["rotary.dim32.out"]).abs().max() < 1e-5


def randomise(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[:1].numel() ** 0.5)
    return module.eval()


@pytest.mark.parametrize("frames", [1, 7, 40, 81, 161, 200])
def test_banded_attention_equals_dense(frames):
    attention = randomise(TemporalAttention(16, 2, 8))
    bias = randomise(RelativeBias(32, 32, 2))
    x = torch.randn(frames, 2, 3, 16)
    band = temporal_band(bias, frames, 40, 8, x.device, x.dtype)
    banded = attention(x, band, Slices(budget=frames * 48 * 4 * 2)) - x

    q, k, v = attention.to_qkv(attention.norm(x)).reshape(frames, 6, 3, 2, 8).permute(2, 1, 3, 0, 4)
    q = rotate_pairs(q * 8**-0.5, band.rotary)
    k = rotate_pairs(k, band.rotary)
    positions = torch.arange(frames)
    scores = q @ k.transpose(-1, -2) + bias(positions, positions, window=frames)
    distance = positions[:, None] - positions[None]
    scores = torch.where(distance.abs() > 40, scores - 1e8, scores)
    dense = attention.to_out((scores.softmax(-1) @ v).permute(2, 0, 1, 3).reshape(frames, 2, 3, 16))
    assert (banded - dense).abs().max() < 1e-5


def test_guidance_equals_three_softmax_attentions():
    guidance = randomise(GuidanceAttention(12, 10, 14, heads=4, head_dim=8))
    x, contexts = torch.randn(3, 2, 5, 12), [torch.randn(3, 14) for _ in range(3)]
    guides = guidance.prepare(*contexts)
    base = torch.randn(3, 2, 5, 10)
    closed_form = guidance(x, base.clone(), guides, *guides.of_frames) - base

    plain = 0
    for attention, context in zip((guidance.audio, guidance.pose, guidance.blink), contexts, strict=True):
        q = attention.to_q(attention.norm(x)).reshape(3, 10, 4, 8)
        key, value = attention.to_kv(context).reshape(3, 2, 4, 8).unbind(1)
        keys = torch.stack([attention.null_kv[0].expand(3, 4, 8), key], dim=1)
        values = torch.stack([attention.null_kv[1].expand(3, 4, 8), value], dim=1)
        q = F.normalize(q, dim=-1) * attention.q_scale
        keys = F.normalize(keys, dim=-1) * attention.k_scale
        weights = (torch.einsum("nphd,njhd->nphj", q, keys) * 8).softmax(-1)
        attended = torch.einsum("nphj,njhd->nphd", weights, values).flatten(2)
        plain = plain + attention.out_norm(attention.to_out(attended)).reshape(3, 2, 5, 10)
    assert (closed_form - plain).abs().max() < 1e-5


@pytest.mark.parametrize("groups", [1, 4])
def test_statistics_of_portions_equal_group_norm(groups):
    norm = randomise(ClipGroupNorm(groups, 8))
    x = torch.randn(11, 3, 5, 8) * 2 + 30  # a large mean, where naive variances lose their digits
    statistics = norm.statistics(clips=1)
    for portion in x.split([1, 4, 4, 2]):
        statistics.add(portion)
    mean, rstd = statistics.mean_and_rstd()
    grouped = x.double().reshape(-1, groups, 8 // groups).transpose(0, 1).flatten(1)
    assert (mean[0] - grouped.mean(1)).abs().max() < 1e-5
    assert (rstd[0] - (grouped.var(1, correction=0) + 1e-5).rsqrt()).abs().max() < 3e-5

    slope, offset = norm.affine(statistics, x.dtype)
    whole = F.group_norm(x.permute(3, 0, 1, 2)[None], groups, norm.weight, norm.bias, 1e-5)[0].permute(
        1, 2, 3, 0
    )
    assert (x * slope + offset - whole).abs().max() < 1e-4  # 1e-6 of the values that cancel here


@pytest.mark.parametrize("size", [(6, 1, 1, 8), (6, 3, 5, 8), (2, 4, 4, 8)])
def test_both_ways_to_the_moments_agree(size):
    """GPUs take the reduction, CPUs the native layer."""
    x = torch.randn(size) + 3
    for reduced, native in zip(reduced_moments(x, 2, 4), native_moments(x, 2, 4), strict=True):
        assert (reduced - native).abs().max() < 1e-5


@pytest.mark.parametrize("budget", [1, 3000, 20000, 200000])
def test_slices_do_not_change_the_result(budget):
    unet = randomise(UNet3D(TINY))
    x, source = torch.randn(1, 3, 90, 4, 6), torch.randn(1, 12, 4, 6)
    clip = unet.prepare(source, torch.randn(1, 90, 20))
    whole = unet(x, torch.tensor([300]), clip)
    sliced = unet(x, torch.tensor([300]), clip, Slices(budget))
    assert (whole - sliced).abs().max() < 2e-5


def test_activations_kept_elsewhere_do_not_change_the_result():
    unet = randomise(UNet3D(TINY))
    x, source = torch.randn(1, 3, 9, 4, 6), torch.randn(1, 12, 4, 6)
    clip = unet.prepare(source, torch.randn(1, 9, 20))
    kept = unet(x, torch.tensor([300]), clip, Slices(budget=3000, store=torch.device("cpu")))
    assert (unet(x, torch.tensor([300]), clip) - kept).abs().max() < 2e-5


def test_sliced_golden(unet, golden):
    x, source, condition = inputs("f50_s8", 1, 50, 8)
    output = unet(x, torch.tensor([47]), unet.prepare(source, condition), Slices(budget=1 << 18))
    assert (output - golden("unet")["f50_s8.out.t47.cs1.0"]).abs().max() < TOLERANCE


def test_half_precision_stays_close(unet, golden):
    """bf16 keeps eight bits: about 1 % of outputs whose deviation is 2."""
    x, source, condition = inputs("f50_s8", 1, 50, 8)
    half = copy.deepcopy(unet).bfloat16()
    clip = half.prepare(source.bfloat16(), condition.bfloat16())
    output = half(x.bfloat16(), torch.tensor([47]), clip, Slices(budget=1 << 18)).float()
    reference = golden("unet")["f50_s8.out.t47.cs1.0"]
    error = (output - reference).square().mean().sqrt() / reference.std()
    assert 0 < error < 0.03


def test_gradients_flow_through_the_closed_forms():
    """The embedded model is trained through these very classes."""
    with torch.inference_mode(False), torch.enable_grad():
        unet = UNet3D(TINY)
        x, source, condition = torch.randn(2, 3, 5, 4, 6), torch.randn(2, 12, 4, 6), torch.randn(2, 5, 20)
        unet(x, torch.tensor([9, 900]), unet.prepare(source, condition)).square().mean().backward()
        without = [name for name, parameter in unet.named_parameters() if parameter.grad is None]
        assert not without


def test_two_clips_in_a_batch_do_not_mix():
    unet = randomise(UNet3D(TINY))
    x, source = torch.randn(2, 3, 5, 4, 6), torch.randn(2, 12, 4, 6)
    condition, timestep = torch.randn(2, 5, 20), torch.tensor([900, 30])
    together = unet(x, timestep, unet.prepare(source, condition))
    for clip in range(2):
        one = slice(clip, clip + 1)
        alone = unet(x[one], timestep[one], unet.prepare(source[one], condition[one]))
        assert (together[one] - alone).abs().max() < 1e-5


def test_wrong_sizes_are_named():
    unet = UNet3D(TINY)
    with pytest.raises(ValueError, match="rows have 19 numbers, this denoiser takes 20"):
        unet.prepare(torch.zeros(1, 12, 4, 4), torch.zeros(1, 3, 19))
    with pytest.raises(ValueError, match="multiples of 2"):
        unet.prepare(torch.zeros(1, 12, 5, 4), torch.zeros(1, 3, 20))
