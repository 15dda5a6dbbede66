"""The auto-encoding half of the LFG against the golden tensors, and its closed forms."""

from __future__ import annotations

import pytest
import recipe
import torch

from dawn_model.config import FlowAutoencoderConfig, MotionEstimatorConfig
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder
from dawn_model.flow_autoencoder.hourglass import anti_alias_kernel, shrink
from dawn_model.flow_autoencoder.motion_estimator import MotionEstimator, autoencode
from dawn_model.flow_autoencoder.regions import Regions, carry, inverse_2x2, principal_axes
from dawn_model.official_keys import apply_table
from dawn_model.official_keys.flow_autoencoder import FLOW_AUTOENCODER, MOTION_ESTIMATOR
from dawn_model.official_keys.fusing import fuse

TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def networks():
    official = {
        key: torch.zeros(tensor["shape"])
        if tensor["recipe"] == "constructed"
        else recipe.weight(key, tensor["shape"])
        for key, tensor in recipe.manifest("lfg_128").items()
    }
    loaded = []
    for table, network in (
        (FLOW_AUTOENCODER, FlowAutoencoder(FlowAutoencoderConfig())),
        (MOTION_ESTIMATOR, MotionEstimator(MotionEstimatorConfig())),
    ):
        ours, origin, unknown = apply_table(official, table)
        assert not unknown
        network.load_state_dict(fuse(ours, origin) if table is FLOW_AUTOENCODER else ours, strict=True)
        loaded.append(network.eval())
    return loaded


def picture(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[None].float() / 255


def assert_close(ours: torch.Tensor, reference: torch.Tensor, what: str) -> None:
    deviation = (ours - reference).abs().max().item()
    assert deviation <= TOLERANCE, f"{what}: {deviation:.2e}"


@pytest.mark.parametrize("size", [128, 256])
def test_regions_and_background(networks, golden, size):
    _, estimator = networks
    reference = golden(f"lfg_{size}")
    pictures = {side: picture(reference[f"in.{side}_u8"]) for side in ("source", "driving")}
    for side, image in pictures.items():
        regions = estimator.region_predictor(image)
        directions, lengths = regions.axes
        assert_close(regions.shift, reference[f"region.{side}.shift"], f"{side} shift")
        assert_close(regions.covar, reference[f"region.{side}.covar"], f"{side} covar")
        assert_close(torch.diag_embed(lengths), reference[f"region.{side}.d"], f"{side} d")
        # Both columns may have the opposite sign in LAPACK's answer.
        sign = torch.sign((directions * reference[f"region.{side}.u"]).sum(dim=(-2, -1), keepdim=True))
        assert_close(directions * sign, reference[f"region.{side}.u"], f"{side} u")
        assert_close(regions.affine * sign, reference[f"region.{side}.affine"], f"{side} affine")
        if side == "source":
            assert_close(regions.heatmap, reference["region.source.heatmap"], "heatmap")
    assert_close(estimator.background_predictor(**pictures), reference["bg"], "background")


@pytest.mark.parametrize("size", [128, 256])
def test_motion_and_reconstruction(networks, golden, size):
    autoencoder, estimator = networks
    reference = golden(f"lfg_{size}")
    source, driving = picture(reference["in.source_u8"]), picture(reference["in.driving_u8"])
    motion = estimator.estimate(source, driving)
    flow, occlusion = reference["full.optical_flow"], reference["full.occlusion_map"]
    assert_close(motion.flow, flow, "flow")
    assert_close(motion.occlusion, occlusion, "occlusion")
    features = autoencoder.encode(source)
    deformed = autoencoder.deform(features, flow)
    deformed, key = (deformed, "") if size == 128 else (deformed[:, :, ::2, ::2], "[:, :, ::2, ::2]")
    assert_close(deformed, reference["full.deformed" + key], "deformed")
    assert_close(autoencoder.decode(features, flow, occlusion), reference["full.prediction"], "prediction")


def test_autoencode_golden(networks, golden):
    """The whole chain. Not at 256 pixels: there the golden pictures turn a flow error of 1e-6 into 1e-5 of
    colour, and one nearly round region makes that error depend on the processor."""
    reference = golden("lfg_128")
    source, driving = picture(reference["in.source_u8"]), picture(reference["in.driving_u8"])
    rebuilt, motion = autoencode(*networks, source, driving)
    assert_close(rebuilt, reference["full.prediction"], "prediction")
    assert_close(motion.flow, reference["full.optical_flow"], "flow")


def test_principal_axes_rebuild_the_covariance():
    draws = torch.randn(1000, 2, 2, generator=torch.Generator().manual_seed(0))
    covar = draws @ draws.mT + 1e-3 * torch.eye(2)
    directions, lengths = principal_axes(covar)
    rebuilt = directions @ torch.diag_embed(lengths**2) @ directions.mT
    assert torch.allclose(rebuilt, covar, atol=1e-5)
    assert torch.allclose(torch.linalg.det(directions), -torch.ones(1000), atol=1e-6)
    assert (lengths[:, 0] >= lengths[:, 1]).all()


def test_principal_axes_of_degenerate_covariances_are_finite():
    for covar in (torch.zeros(2, 2), torch.eye(2), torch.diag(torch.tensor([1.0, 2.0])), torch.ones(2, 2)):
        directions, lengths = principal_axes(covar)
        rebuilt = directions @ torch.diag_embed(lengths**2) @ directions.mT
        assert torch.allclose(rebuilt, covar, atol=1e-6)


def test_inverse_2x2():
    matrix = torch.randn(50, 2, 2, generator=torch.Generator().manual_seed(0))
    matrix = matrix + 3 * torch.eye(2)
    assert torch.allclose(inverse_2x2(matrix) @ matrix, torch.eye(2).expand(50, 2, 2), atol=1e-5)


def test_a_region_carried_to_itself_does_not_move():
    heatmap = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    regions = Regions.from_heatmap(heatmap / heatmap.sum(dim=(2, 3), keepdim=True))
    assert torch.allclose(carry(regions, regions), torch.eye(2).expand(1, 3, 2, 2), atol=1e-5)


def test_anti_alias_taps_are_a_gaussian():
    taps = anti_alias_kernel(4)
    distance = torch.arange(-6, 7).float()
    expected = torch.exp(-(distance**2) / (2 * 1.5**2))
    assert torch.allclose(taps, expected / expected.sum())
    assert shrink(torch.rand(1, 3, 32, 32), 4).shape == (1, 3, 8, 8)
    assert shrink(torch.rand(1, 3, 32, 32), 2).shape == (1, 3, 16, 16)


def test_a_video_is_estimated_as_its_frames_are():
    config = MotionEstimatorConfig(
        regions=3, region_width=4, background_width=4, flow_width=4, max_width=16, blocks=3, downscale=2
    )
    torch.manual_seed(0)
    estimator = MotionEstimator(config).eval()
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(3, 3, 32, 32)
    motion = estimator.estimate(source, driving)
    assert motion.flow.shape == (3, 16, 16, 2)
    assert motion.occlusion.shape == (3, 1, 16, 16)
    for i in range(3):
        alone = estimator.estimate(source, driving[i : i + 1])
        assert torch.allclose(alone.flow, motion.flow[i : i + 1], atol=1e-5)
        assert torch.allclose(alone.occlusion, motion.occlusion[i : i + 1], atol=1e-5)


def test_sides_that_cannot_be_halved_are_refused():
    estimator = MotionEstimator(
        MotionEstimatorConfig(regions=3, region_width=4, max_width=16, blocks=3)
    ).eval()
    with pytest.raises(ValueError, match="multiples of 8"):
        estimator.region_predictor(torch.rand(1, 3, 40, 40))
