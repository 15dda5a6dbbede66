"""What the embedded model's denoiser knows about a portrait."""

import dataclasses

import pytest
import torch

from dawn_model.denoiser.face_code import CHANNELS, MAP_CHANNELS, face_code, mesh_maps
from dawn_model.face.state import canonical_face, face_state

SIDE, CELLS = 128, 64
_UPPER_EDGE, _LOWER_EDGE = 9, 10


def frontal_points(scale=5.0, x=64.0, y=64.0):
    """The canonical face as the landmarker would see it from the front, [478, 3], y down."""
    skin = canonical_face().vertices * torch.tensor([1.0, -1.0, -1.0]) * scale
    irises = torch.stack([skin[[33, 133]].mean(0)] * 5 + [skin[[362, 263]].mean(0)] * 5)
    return torch.cat([skin, irises]) + torch.tensor([x, y, 0.0])


def test_channels():
    face = face_state(frontal_points(), SIDE, SIDE)
    code = face_code(torch.rand(1, 3, SIDE, SIDE), face, CELLS)
    assert code.shape == (1, CHANNELS, CELLS, CELLS)
    assert code.isfinite().all() and code.abs().max() < 4


def test_a_larger_picture_has_the_same_code():
    """Of the same face: the cells stay, their colours are means."""
    small = torch.rand(1, 3, SIDE, SIDE)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    points = frontal_points() + torch.tensor([0.5, 0.5, 0.0])  # pixel centres lie at whole numbers
    codes = [
        face_code(picture, face_state(points * scale - torch.tensor([0.5, 0.5, 0.0]), side, side), CELLS)
        for picture, scale, side in ((small, 1, SIDE), (large, 2, 2 * SIDE))
    ]
    assert torch.allclose(*codes, atol=2e-3)


def test_moving_the_face_moves_the_maps():
    """By four pixels, which are two cells."""
    maps = mesh_maps(frontal_points(), CELLS, SIDE)
    moved = mesh_maps(frontal_points(x=68.0), CELLS, SIDE)
    assert maps.shape == (MAP_CHANNELS, CELLS, CELLS)
    assert torch.allclose(moved[..., 2:], maps[..., :-2], atol=1e-4)


def test_a_larger_face_has_larger_maps():
    small, large = (mesh_maps(frontal_points(scale), CELLS, SIDE) for scale in (4.0, 6.0))
    face = 4
    assert large[face].sum() > 1.5 * small[face].sum()


def test_lips_part_the_mouth():
    """Above both lips both edges are above nothing, below both they are; between them only one is."""
    points = frontal_points()
    points[[14, 87, 317, 88, 318, 178, 402, 95, 324, 191, 415], 1] += 6  # the lower inner lip
    maps = mesh_maps(points, CELLS, SIDE)
    column, middle = round(float(points[13, 0]) / 2), (points[13, 1] + points[14, 1]) / 4
    upper, lower = maps[_UPPER_EDGE, :, column], maps[_LOWER_EDGE, :, column]
    assert upper[round(float(middle))] > 0 > lower[round(float(middle))]
    assert upper[5] < 0 and lower[5] < 0 and upper[-5] > 0 and lower[-5] > 0


def test_needs_the_mesh():
    face = dataclasses.replace(face_state(frontal_points(), SIDE, SIDE), points=None)
    with pytest.raises(ValueError, match="mesh points"):
        face_code(torch.rand(1, 3, SIDE, SIDE), face, CELLS)
