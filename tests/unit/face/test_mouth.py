"""Gap and width of a mouth from mesh points."""

import numpy as np
import pytest
import torch

from dawn_model.face.mouth import LOWER_LIP, UPPER_LIP, inner_lips, mouth_opening
from dawn_model.face.state import canonical_face


def points_of(turn=0.0):
    """The canonical face, turned about the vertical by some degrees."""
    skin = canonical_face().vertices * torch.tensor([1.0, -1.0, -1.0])
    points = torch.cat([skin, *[skin[pair].mean(0).expand(5, 3) for pair in ([33, 133], [362, 263])]])
    points[14] = points[13] + torch.tensor([0.0, 1.0, 0.0])
    angle = torch.deg2rad(torch.tensor(turn))
    x, z = points[:, 0].clone(), points[:, 2].clone()
    points[:, 0], points[:, 2] = x * angle.cos() + z * angle.sin(), z * angle.cos() - x * angle.sin()
    return points


def test_in_iris_distances():
    straight = points_of()
    unit = float((straight[468] - straight[473]).norm())
    gap, width = mouth_opening(straight).tolist()
    assert abs(gap - 1.0 / unit) < 0.05
    assert 0.5 < width < 1.0
    assert torch.allclose(mouth_opening(straight * 7), mouth_opening(straight))


def test_a_turn_changes_little():
    assert torch.allclose(mouth_opening(points_of(25)), mouth_opening(points_of()), rtol=0.1)


def open_mouth(angle: float = 0.0) -> torch.Tensor:
    """Mesh points [478, 3] in a picture of 64 pixels: inner lips 12 pixels apart in the middle, turned about it."""
    points = torch.zeros(478, 3)
    points[468], points[473] = torch.tensor([16.0, 16.0, 0.0]), torch.tensor([48.0, 16.0, 0.0])
    across = torch.linspace(16, 48, len(UPPER_LIP))
    arch = 6 * (1 - ((across - 32) / 16) ** 2)
    for lip, sign in ((LOWER_LIP, 1), (UPPER_LIP, -1)):
        points[list(lip), 0], points[list(lip), 1] = across, 32 + sign * arch
    turn = torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32
    )
    points[:, :2] = (points[:, :2] - 32) @ turn.T + 32
    return points


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, np.pi])
def test_how_far_a_pixel_lies_below_each_lip_and_inside_the_corners(angle):
    points = open_mouth(angle)
    lips = inner_lips(points, 64)
    turn = torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32
    )
    assert torch.allclose(lips.down, turn @ torch.tensor([0.0, 1.0]), atol=1e-4)
    assert lips.iris_distance == pytest.approx(1.0)
    deeper = 2.0  # where the edge of a lip is not mixed with teeth
    for offset in (-10.0, -2.0, 2.0, 10.0):
        x, y = (turn @ torch.tensor([0.0, offset]) + 32).round().int().tolist()
        upper, lower = (lips.maps[0, :2, y, x] * 32).tolist()
        assert abs(upper - (offset + 6 + deeper)) < 1.2 and abs(lower - (offset - 6 - deeper)) < 1.2, offset
        assert lips.maps[0, 2, y, x] > 1
    x, y = (turn @ torch.tensor([-24.0, 0.0]) + 32).round().int().tolist()
    upper, lower, inside = lips.maps[0, :, y, x].tolist()
    assert inside < -1 and abs(upper - lower) < 0.01, "beside the mouth nothing lies between the lips"


def test_lips_that_meet_need_no_help():
    points = open_mouth()
    points[list(UPPER_LIP), 1] = points[list(LOWER_LIP), 1]
    assert inner_lips(points, 64) is None
