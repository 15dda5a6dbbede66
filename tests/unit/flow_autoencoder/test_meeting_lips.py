"""Lips of an open mouth that meet: no teeth, a smooth dark line, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dawn_model.flow_autoencoder.meeting_lips import close_lips, with_meeting_lips
from dawn_model.flow_autoencoder.warping import MotionPyramid
from dawn_model.structures import InnerLips

SIZE, CELLS = 128, 32
HALF_GAP, HALF_WIDTH, MIDDLE = 8, 40, 64
SLOPES = (0.0, 0.1, -0.25)


def pixels(tilt: float) -> tuple[Tensor, Tensor]:
    """Of every pixel: across from the middle of the mouth, and down from its middle line, which falls by `tilt`."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (x - MIDDLE).float(), y - MIDDLE - tilt * (x - MIDDLE)


def portrait(tilt: float) -> Tensor:
    """A gray face, red above and green below an open mouth full of white teeth, [1, 3, SIZE, SIZE]."""
    across, down = pixels(tilt)
    picture = torch.full((3, SIZE, SIZE), 0.5)
    lips = (across.abs() < HALF_WIDTH) & (down.abs() < 3 * HALF_GAP)
    picture[:, lips & (down < 0)] = torch.tensor([0.8, 0.3, 0.3])[:, None]
    picture[:, lips & (down > 0)] = torch.tensor([0.3, 0.8, 0.3])[:, None]
    picture[:, lips & (down.abs() < HALF_GAP)] = 1.0
    return picture[None]


def lips_of(tilt: float) -> InnerLips:
    """Of that portrait. The edges lie in the lips, as those of `inner_lips` do."""
    across, down = pixels(tilt)
    edge = HALF_GAP + 1
    depths = torch.stack([down + edge, down - edge]) * 2 / SIZE
    maps = torch.cat([depths, ((HALF_WIDTH - across.abs()) / 5)[None]])
    return InnerLips(maps[None], torch.tensor([0.0, 1.0]), 2 * 64 / SIZE)


def shutting_flow(tilt: float) -> Tensor:
    """The motion that takes both lips to the middle line, of each cell at its middle, [1, CELLS, CELLS, 2]."""
    ticks = (torch.arange(CELLS) + 0.5) * SIZE / CELLS - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    down = y - MIDDLE - tilt * (x - MIDDLE)
    y = torch.where((x - MIDDLE).abs() < HALF_WIDTH, y + down.sign() * HALF_GAP, y)
    return torch.stack([(2 * x + 1) / SIZE - 1, (2 * y + 1) / SIZE - 1], dim=-1)[None]


def moved(tilt: float, shut: Tensor) -> tuple[Tensor, Tensor]:
    """Frames without and with lips that meet."""
    flow = shutting_flow(tilt).repeat(len(shut), 1, 1, 1)
    plain = MotionPyramid(flow, torch.ones(len(shut), 1, CELLS, CELLS)).warp(portrait(tilt))
    return plain, close_lips(plain, portrait(tilt), lips_of(tilt), flow, shut)


def lips_in(frame: Tensor, tilt: float) -> tuple[Tensor, Tensor]:
    """Colours [3, 25, W] of the columns well within the corners, 12 pixels to either side of the middle line; and how
    far down each is, [25, W]."""
    columns = torch.arange(MIDDLE - HALF_WIDTH + 14, MIDDLE + HALF_WIDTH - 14)
    rows = torch.arange(-12, 13)[:, None] + (MIDDLE + tilt * (columns - MIDDLE)).round().long()
    return frame[:, rows, columns], pixels(tilt)[1][rows, columns]


@pytest.mark.parametrize("tilt", SLOPES)
def test_no_teeth_are_left(tilt):
    plain, closed = moved(tilt, torch.ones(1))
    assert lips_in(plain[0], tilt)[0].min(0).values.max() > 0.6, "what is interpolated shows them"
    assert lips_in(closed[0], tilt)[0].min(0).values.max() < 0.4


@pytest.mark.parametrize("tilt", SLOPES)
def test_the_line_is_smooth_and_dark(tilt):
    colours, down = lips_in(moved(tilt, torch.ones(1))[1][0], tilt)
    light = colours.mean(0)
    darkest = down.gather(0, light.argmin(0, keepdim=True))[0]
    assert darkest.abs().max() < 1.2, "stairs of a cell would be 2 pixels to either side"
    assert (light.min(0).values < 0.8 * 1.4 / 3).all()
    red = (colours[0] - colours[1]).clamp(-0.5, 0.5)
    assert red[down < -2].min() > 0.25 and red[down > 2].max() < -0.25, "each lip on its side"


def test_what_is_far_away_does_not_change():
    plain, closed = moved(0.1, torch.ones(1))
    across, down = pixels(0.1)
    far = (down.abs() > 30) | (across.abs() > HALF_WIDTH + 10)
    assert torch.allclose(plain[0][:, far], closed[0][:, far], atol=1e-6)


def test_an_open_frame_is_left_as_it_is():
    plain, closed = moved(0.1, torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(plain[[0, 2]], closed[[0, 2]])
    assert moved(0.1, torch.zeros(2))[1].equal(moved(0.1, torch.zeros(2))[0])


def test_lips_come_together_without_a_jump_and_no_teeth_shine_through_them():
    shut = torch.linspace(0, 1, 201)
    closed = moved(0.1, shut)[1]
    steps = (closed[1:] - closed[:-1]).abs().flatten(1).mean(1)
    assert steps.max() < 0.1 * (closed[-1] - closed[0]).abs().mean()
    for frame in closed[shut >= 0.1]:
        white = lips_in(frame, 0.1)[0].min(0).values > 0.4
        assert white.sum(0).max() <= 3, "a slit, no gray row of teeth as high as before"


def test_frames_do_not_depend_on_each_other():
    shut = torch.tensor([0.2, 1.0, 0.0, 0.7])
    together = moved(0.1, shut)[1]
    for i in range(4):
        assert torch.allclose(moved(0.1, shut[i : i + 1])[1][0], together[i], atol=1e-6)


def test_where_detail_is_taken_from_skips_the_teeth():
    flow, lips, seen = shutting_flow(0.1), lips_of(0.1), torch.ones(1, 1, SIZE, SIZE)
    plain, _ = MotionPyramid(flow, torch.ones(1, 1, CELLS, CELLS)).at((SIZE, SIZE))
    open_grid, open_seen = with_meeting_lips(plain, seen, lips, flow, torch.zeros(1))
    assert torch.equal(open_grid, plain) and torch.equal(open_seen, seen)
    grid, visible = with_meeting_lips(plain, seen, lips, flow, torch.ones(1))
    across, down = pixels(0.1)
    middle = across.abs() < HALF_WIDTH - 14
    y = ((grid[0, ..., 1] + 1) * SIZE - 1) / 2
    x = ((grid[0, ..., 0] + 1) * SIZE - 1) / 2
    depth = y - MIDDLE - 0.1 * (x - MIDDLE)
    assert depth[middle].abs().min() > HALF_GAP, "nothing from between the lips"
    assert visible[0, 0][middle & (down.abs() < 0.6)].max() < 0.5, (
        "nor anything fine in the line between them"
    )
    assert visible[0, 0][middle & (down.abs() > 6) & (down.abs() < 10)].min() > 0.9
