"""The plot shows what is in the track: read back from its pixels."""

from __future__ import annotations

import pytest
import torch

from dawn_model.head_motion.blinks import find_blinks, shut_lids
from dawn_model.head_motion.plot import CURVE_COLOURS, plot_head_motion
from dawn_model.head_motion.plot_cursor import plot_with_cursor
from dawn_model.structures import FaceState, HeadMotion

REST = FaceState(
    torch.tensor([-4.0, 3.0, 2.0, 0.0016, 60.0, 55.0]), torch.tensor([0.31, 0.29]), torch.zeros(4), 128, 128
)


def track(frames: int = 100) -> HeadMotion:
    """Every angle swings with a period of its own; two blinks."""
    time = torch.arange(frames)[:, None] / 25
    swing = torch.sin(2 * torch.pi * time * torch.tensor([0.5, 0.7, 0.9, 1.1, 1.3, 1.5]))
    pose = REST.pose + swing * torch.tensor([12, 8, 6, 2e-5, 3, 4])
    lids = shut_lids([(1.0, 1.0), (3.0, 1.0)], frames)
    return HeadMotion(pose, (1 - 0.9 * lids)[:, None] * REST.blink)


def centre_line(picture: torch.Tensor, colour: tuple[int, int, int], row, left: float, right: float):
    """Height of a curve in each column of its row, from the pixels nearest its colour."""
    strip = picture[round(row.top) : round(row.bottom), round(left) + 2 : round(right) - 2]
    near = (1 - (strip - torch.tensor(colour) / 255).norm(dim=-1) / 0.35).clamp(min=0)
    y = torch.arange(strip.shape[0])[:, None] + 0.5 + round(row.top)
    return (near * y).sum(0) / near.sum(0)


def test_curves_are_where_the_values_are():
    motion = track()
    plot = plot_head_motion(motion, 1280, 960)
    assert plot.picture.shape == (960, 1280, 3)
    assert plot.picture.min() >= 0 and plot.picture.max() <= 1
    signs = torch.tensor([-1.0, -1, -1, 1000, 1, 1])
    for index, colour in enumerate(CURVE_COLOURS):
        row = plot.rows[1 + index]
        drawn = centre_line(plot.picture, colour, row, plot.left, plot.right)
        x = (torch.arange(len(drawn)) + round(plot.left) + 2.5 - plot.left) / (plot.right - plot.left)
        frame = (x * len(motion) - 0.5).round().long().clamp(0, len(motion) - 1)
        expected = row.y((motion.pose[:, index] * signs[index])[frame].numpy())
        found = drawn.isfinite()
        assert found.float().mean() > 0.9
        error = (drawn - torch.tensor(expected))[found].abs()
        assert error.median() < 1.5, f"curve {index} is {error.median():.1f} pixels off"


def test_blinks_are_marked_through_all_rows():
    motion = track()
    plot = plot_head_motion(motion, 1280, 960)
    ((first, end), _) = find_blinks(motion)
    x = round(plot.left + (plot.right - plot.left) * (first + end) / 2 / len(motion))
    away = round(plot.left + (plot.right - plot.left) * 0.13)
    top = round(plot.rows[0].top) + 2
    assert (plot.picture[top, x] > plot.picture[top, away] + 0.04).all()


def test_counting_blinks():
    motion = track()
    assert len(find_blinks(motion)) == 2
    assert all(
        start < 25 * moment + 1 < end + 1
        for (start, end), moment in zip(find_blinks(motion), (1, 3), strict=True)
    )
    assert find_blinks(HeadMotion(motion.pose, REST.blink.repeat(100, 1))) == []


@pytest.mark.parametrize("extra", ["waveform", "rest"])
def test_speech_and_portrait_are_drawn(extra):
    motion = track()
    plain = plot_head_motion(motion, 800, 600).picture
    sound = torch.sin(torch.arange(64000) / 5) * torch.linspace(0, 1, 64000)
    given = {"waveform": sound[None], "rest": REST}[extra]
    plot = plot_head_motion(motion, 800, 600, **{extra: given})
    rows = slice(0, 1) if extra == "waveform" else slice(1, 8)
    areas = [plot.picture[round(row.top) : round(row.bottom)] for row in plot.rows[rows]]
    before = [plain[round(row.top) : round(row.bottom)] for row in plot.rows[rows]]
    assert all((a - b).abs().max() > 0.2 for a, b in zip(areas, before, strict=True))
    if extra == "waveform":  # louder to the right
        lit = (areas[0] - before[0]).abs().amax(-1) > 0.1
        assert lit[:, -200:].sum() > 2 * lit[:, 150:350].sum()


@pytest.mark.parametrize("frames", [1, 2, 26, 15000])
def test_any_length(frames):
    motion = HeadMotion(REST.pose.repeat(frames, 1), REST.blink.repeat(frames, 1))
    assert plot_head_motion(motion, 480, 360, torch.zeros(1, frames * 640)).picture.isfinite().all()


def test_the_cursor_moves_with_time():
    motion = track(20)
    plot = plot_head_motion(motion, 640, 480, room_for_values=True)
    steps = []
    film = plot_with_cursor(plot, steps.append)
    assert film.shape == (20, 480, 640, 3) and steps == list(range(1, 21))
    top = round(plot.rows[0].top) + 3
    for frame in (0, 7, 19):
        change = (film[frame, top] - plot.picture[top]).sum(-1)
        x = plot.left + (frame + 0.5) / 20 * (plot.right - plot.left)
        assert abs(int(change.argmax()) - x) < 1.5
    values = [frame[:, round(plot.right) + 2 :] for frame in film]
    assert (values[0] - values[10]).abs().max() > 0.3, "the numbers change"


def test_what_can_not_be_plotted():
    with pytest.raises(ValueError, match="there is nothing to plot"):
        plot_head_motion(HeadMotion(torch.zeros(0, 6), torch.zeros(0, 2)), 640, 480)
    with pytest.raises(ValueError, match="values that are not numbers"):
        plot_head_motion(HeadMotion(torch.full((2, 6), torch.nan), torch.zeros(2, 2)), 640, 480)
    with pytest.raises(ValueError, match="a plot of 100×480 can not be read; use 480×360 or more"):
        plot_head_motion(track(), 100, 480)
