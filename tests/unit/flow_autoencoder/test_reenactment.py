"""A film's motion onto a portrait."""

import pytest
import torch

from dawn_model.config import MotionEstimatorConfig
from dawn_model.flow_autoencoder.motion_estimator import MotionEstimator
from dawn_model.flow_autoencoder.reenactment import at_video_rate, motion_of_pictures

TINY = MotionEstimatorConfig(
    regions=3, region_width=4, background_width=4, flow_width=4, max_width=16, blocks=2
)


@pytest.mark.parametrize(
    ("fps", "frames", "expected"), [(25, 10, 10), (50, 20, 10), (12.5, 5, 9), (30, 30, 25)]
)
def test_any_rate_becomes_twenty_five(fps, frames, expected):
    shown = list(at_video_rate((k / fps, torch.tensor(k)) for k in range(frames)))
    assert len(shown) == expected
    assert all(abs(int(number) / fps - k / 25) < 1 / fps for k, number in enumerate(shown))


def test_slices_change_nothing():
    torch.manual_seed(0)
    estimator = MotionEstimator(TINY).eval()
    source, film = torch.rand(1, 3, 64, 64), [torch.rand(64, 64, 3) for _ in range(5)]
    done = []
    with torch.no_grad():
        whole = estimator.estimate(source, torch.stack(film).movedim(-1, 1))
        parts = motion_of_pictures(estimator, source, film, 2, done.append)
    assert torch.allclose(parts.flow, whole.flow, atol=1e-5)
    assert torch.allclose(parts.occlusion, whole.occlusion, atol=1e-5)
    assert done == [2, 4, 5]


def test_no_pictures():
    with pytest.raises(ValueError, match="no pictures"):
        motion_of_pictures(MotionEstimator(TINY), torch.rand(1, 3, 64, 64), [])
