"""The flow autoencoder against the golden tensors, and its shortcuts against the plain computation."""

from __future__ import annotations

import copy
import re

import pytest
import recipe
import torch
import torch.nn.functional as F
from plain_flow_autoencoder import PlainFlowAutoencoder, tiny_official_state

from dawn_model.config import FlowAutoencoderConfig, MotionEstimatorConfig
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder
from dawn_model.flow_autoencoder.motion_estimator import MotionEstimator
from dawn_model.flow_autoencoder.render import render_frames
from dawn_model.flow_autoencoder.warping import ROW_CHANNELS, MotionPyramid, coordinate_grid, warp
from dawn_model.official_keys import apply_table
from dawn_model.official_keys.flow_autoencoder import FLOW_AUTOENCODER, MOTION_ESTIMATOR
from dawn_model.official_keys.fusing import fuse
from dawn_model.structures import MotionLatents

TOLERANCE = 5e-5
USED = ("first", "down_blocks", "bottleneck", "up_blocks", "final")


def load(official: dict[str, torch.Tensor], config: FlowAutoencoderConfig) -> FlowAutoencoder:
    ours, origin, unknown = apply_table(official, FLOW_AUTOENCODER)
    assert not unknown
    autoencoder = FlowAutoencoder(config)
    autoencoder.load_state_dict(fuse(ours, origin), strict=True)
    return autoencoder.eval()


@pytest.fixture(scope="module")
def full() -> FlowAutoencoder:
    prefixes = tuple(f"generator.{name}." for name in USED)
    official = {
        key: recipe.weight(key, tensor["shape"])
        for key, tensor in recipe.manifest("lfg_128").items()
        if key.startswith(prefixes) and tensor["recipe"] != "constructed"
    }
    return load(official, FlowAutoencoderConfig())


def tiny(down_blocks: int = 2) -> tuple[FlowAutoencoder, PlainFlowAutoencoder]:
    official = tiny_official_state(width=8, down_blocks=down_blocks, bottleneck_blocks=2)
    config = FlowAutoencoderConfig(width=8, down_blocks=down_blocks, bottleneck_blocks=2)
    return load(official, config), PlainFlowAutoencoder(official)


def motion_of(frames: int, size: int) -> MotionLatents:
    """Gentle random motion, a different one for each frame."""
    draws = torch.Generator().manual_seed(frames)
    grid = coordinate_grid(size, size, like=torch.zeros(()))
    flow = grid + 0.1 * torch.randn(frames, size, size, 2, generator=draws)
    return MotionLatents(flow, torch.rand(frames, 1, size, size, generator=draws))


def portrait(size: int) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def assert_close(
    ours: torch.Tensor, reference: torch.Tensor, what: str, tolerance: float = TOLERANCE
) -> None:
    assert ours.shape == reference.shape, what
    deviation = (ours.float() - reference).abs().max().item()
    assert deviation <= tolerance, f"{what}: {deviation:.2e}"


def sliced(tensor: torch.Tensor, key: str) -> torch.Tensor:
    """The part of `tensor` that a golden key such as "fea[:, ::4, ::2, ::2]" holds."""
    spelled = re.search(r"\[(.*)\]", key)
    if spelled is None:
        return tensor
    steps = [int(part.strip().lstrip(":") or 1) for part in spelled[1].split(",")]
    return tensor[tuple(slice(None, None, step) for step in steps)]


@pytest.mark.parametrize("size", [128, 256])
def test_golden(full, golden, size):
    reference = golden(f"lfg_{size}")
    inner = {name: module for name, module in full.named_modules() if name}
    inner = {f"act.{name.replace('bottleneck.0', 'bottleneck.r0')}": module for name, module in inner.items()}
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in inner.items()
    ]
    source = full.encode(reference["in.source_u8"][None].float() / 255)
    seen["fwf.prediction"] = full.decode(source, reference["in.flow"], reference["in.occlusion"])
    seen["fwf.deformed"] = full.deform(source, reference["in.flow"])
    seen["fea"] = source.deepest
    for hook in hooks:
        hook.remove()
    checked = [key for key in reference if key.startswith(("fwf.", "act.", "fea"))]
    assert len(checked) == 13
    for key in checked:
        if key == "fea.channel_mean":
            assert_close(source.deepest.mean(dim=(0, 2, 3)), reference[key], key)
        elif key == "fea.channel_std":
            assert_close(source.deepest.std(dim=(0, 2, 3), unbiased=False), reference[key], key)
        else:
            # Inner activations reach 22; what leaves the network stays below 1.
            scale = max(1, reference[key].abs().max().item()) if key.startswith("act.") else 1
            assert_close(sliced(seen[key.partition("[")[0]], key), reference[key], key, TOLERANCE * scale)


@pytest.mark.parametrize("name", ["e2e128", "e2e256"])
def test_golden_video_frames(full, golden, name):
    """The authors' own sampled motion, rendered: 8-bit frames may differ by 1 at truncation edges."""
    reference = golden(name)
    source = full.encode(reference["in.source_u8"][None].float() / 255)
    flow = reference["sample_vid_grid"][0].permute(1, 2, 3, 0)
    occlusion = reference["sample_vid_conf"][0].transpose(0, 1)
    frames = render_frames(full, source, MotionLatents(flow, occlusion), frames_per_slice=3)
    key = next(key for key in reference if key.startswith("sample_out_vid"))
    frames = frames if name == "e2e128" else frames[1:2]
    assert_close(frames.permute(3, 0, 1, 2).reshape(reference[key].shape), reference[key], key)
    if name == "e2e128":
        difference = ((frames * 255).to(torch.uint8).int() - reference["frames_rgb_u8"].int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() <= 1e-3


@pytest.mark.parametrize("down_blocks", [1, 2, 3])
def test_equals_the_plain_computation(down_blocks):
    autoencoder, plain = tiny(down_blocks)
    latent = 32 // 2**down_blocks
    motion, picture = motion_of(3, latent), portrait(32)
    source = autoencoder.encode(picture)
    frames = autoencoder.decode(source, motion.flow, motion.occlusion)
    assert source.deepest.shape == (1, autoencoder.config.feature_channels, latent, latent)
    assert (source.deepest >= 0).all()
    for ours, reference in zip(source.features, plain.encode(picture), strict=True):
        assert_close(ours, reference, "features", 1e-5)
    for i in range(3):
        reference = plain.decode(picture, motion.flow[i : i + 1], motion.occlusion[i : i + 1])
        assert_close(frames[i : i + 1], reference, f"frame {i}", 1e-5)


@pytest.mark.parametrize("frames_per_slice", [1, 2, 4, 7, 100])
def test_slices_do_not_change_the_frames(frames_per_slice):
    autoencoder, _ = tiny()
    source, motion = autoencoder.encode(portrait(32)), motion_of(7, 8)
    whole = autoencoder.decode(source, motion.flow, motion.occlusion)
    done = []
    frames = render_frames(
        autoencoder, source, motion, frames_per_slice, callback=lambda *count: done.append(count)
    )
    assert_close(frames, whole.clamp(0, 1).movedim(1, -1), "frames", 1e-6)
    assert done[-1] == (7, 7)
    assert len(done) == -(-7 // frames_per_slice)


def test_rendering_continues_where_it_was_interrupted():
    autoencoder, _ = tiny()
    source, motion = autoencoder.encode(portrait(32)), motion_of(5, 8)
    whole = render_frames(autoencoder, source, motion, 5)
    out = torch.zeros_like(whole)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        render_frames(autoencoder, source, motion, 2, callback=stop, out=out)
    assert out[:2].abs().sum() > 0
    assert out[2:].abs().sum() == 0
    assert_close(render_frames(autoencoder, source, motion, 1, out=out, start=2), whole, "continued", 1e-6)


def test_render_refuses_what_it_cannot_do():
    autoencoder, _ = tiny()
    source, motion = autoencoder.encode(portrait(32)), motion_of(2, 8)
    with pytest.raises(ValueError, match="frames_per_slice"):
        render_frames(autoencoder, source, motion, 0)
    with pytest.raises(ValueError, match="multiples of 4"):
        autoencoder.encode(portrait(30))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision(full, golden, dtype, tolerance):
    reference = golden("lfg_128")
    autoencoder = copy.deepcopy(full).to(dtype)
    source = autoencoder.encode(reference["in.source_u8"][None].float() / 255, dtype)
    assert source.deepest.dtype == dtype
    assert source.picture.dtype == torch.float32
    frames = autoencoder.decode(source, reference["in.flow"], reference["in.occlusion"])
    assert frames.dtype == torch.float32
    assert_close(frames, reference["fwf.prediction"], str(dtype), tolerance)


def test_visible_pixels_stay_exact_in_half_precision():
    """With nothing hidden the output is the warped portrait, so its colours must not pass bfloat16."""
    autoencoder = tiny()[0].to(torch.bfloat16)
    motion, picture = motion_of(1, 8), portrait(32)
    source = autoencoder.encode(picture, torch.bfloat16)
    frames = autoencoder.decode(source, motion.flow, torch.ones_like(motion.occlusion))
    assert_close(frames, autoencoder.deform(source, motion.flow), "visible", 1e-6)


def test_coordinates_keep_their_precision():
    """bfloat16 features are sampled where float32 coordinates say."""
    picture, grid = portrait(64), motion_of(1, 64).flow
    assert_close(warp(picture.bfloat16(), grid), warp(picture.bfloat16().float(), grid), "warp", 4e-3)


@pytest.mark.parametrize("sources", [1, 3])
@pytest.mark.parametrize("contiguous", [torch.contiguous_format, torch.channels_last])
def test_rows_are_sampled_as_grid_sample_does(sources, contiguous):
    """Far outside, on the edges and between pixels; one source for all frames or one each."""
    draw = torch.Generator().manual_seed(3)
    source = torch.randn(sources, ROW_CHANNELS, 9, 13, generator=draw).contiguous(memory_format=contiguous)
    grid = torch.rand(3, 7, 5, 2, generator=draw) * 3 - 1.5
    grid[0, 0] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [1e30, 0.0], [-5.0, 9.0]])
    expected = F.grid_sample(source.expand(3, -1, -1, -1), grid, padding_mode="zeros", align_corners=False)
    assert_close(warp(source, grid), expected, "rows", 5e-6)


def test_a_grid_that_is_not_a_number_stays_one_without_harm():
    source, grid = torch.ones(1, ROW_CHANNELS, 4, 4), torch.full((1, 2, 2, 2), float("nan"))
    assert warp(source, grid).isnan().all()


def test_the_tables_know_every_official_key():
    manifest = recipe.manifest("lfg_128")
    assert manifest == recipe.manifest("lfg_256")
    shapes_alone = {key: torch.empty(tensor["shape"], device="meta") for key, tensor in manifest.items()}
    ours, origin, unknown = apply_table(shapes_alone, FLOW_AUTOENCODER)
    assert not unknown
    assert len(ours) == 121 - len([key for key in manifest if _counts(key)])
    with torch.device("meta"):
        expected = FlowAutoencoder(FlowAutoencoderConfig()).state_dict()
        assert shapes(fuse(ours, origin)) == shapes(expected)
        ours, _, unknown = apply_table(shapes_alone, MOTION_ESTIMATOR)
        assert not unknown
        assert shapes(ours) == shapes(MotionEstimator(MotionEstimatorConfig()).state_dict())


def test_foreign_keys_are_named():
    _, _, unknown = apply_table({"generator.first.conv.extra": torch.zeros(1)}, FLOW_AUTOENCODER)
    assert unknown == ["generator.first.conv.extra"]


@pytest.mark.parametrize(
    "key",
    [
        "generator.first.norm.running_var",
        "generator.up_blocks.1.norm.bias",
        "generator.bottleneck.r1.norm1.weight",
    ],
)
def test_a_missing_norm_is_named(key):
    official = tiny_official_state(width=8, down_blocks=2, bottleneck_blocks=2)
    del official[key]
    ours, origin, _ = apply_table(official, FLOW_AUTOENCODER)
    with pytest.raises(ValueError, match=re.escape(key)):
        fuse(ours, origin)


def _counts(key: str) -> bool:
    used = key.startswith(tuple(f"generator.{name}." for name in USED))
    return used and key.endswith("num_batches_tracked")


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def test_edges_of_what_is_hidden_are_sharper_than_cells():
    """Enlarged four times, the edges of a slit are one or two pixels wide instead of four, and stay in place."""
    visible = torch.ones(1, 1, 16, 16)
    visible[:, :, 8:10] = 0.0
    flow = torch.zeros(1, 16, 16, 2)
    usual, sharp = (
        MotionPyramid(flow, visible, edges).at((64, 64))[1][0, 0, :, 32] for edges in (0.0, 2 / 3)
    )
    assert torch.equal(usual, F.interpolate(visible, size=(64, 64), mode="bilinear")[0, 0, :, 32])
    assert ((usual > 0.05) & (usual < 0.95)).sum() == 8
    assert ((sharp > 0.05) & (sharp < 0.95)).sum() <= 4
    assert torch.equal(usual > 0.5, sharp > 0.5)
    own_size = MotionPyramid(flow, visible, 2 / 3).at((16, 16))[1]
    assert torch.equal(own_size, visible)
