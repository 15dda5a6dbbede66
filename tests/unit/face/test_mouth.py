"""Gap and width of a mouth from mesh points."""

import torch

from dawn_model.face.mouth import mouth_opening
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
