"""Lines and dots: where they are, how wide, smooth, and cut off at the border."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_model.drawing.shapes import dot, line, rectangle

RED = (255, 0, 0)


@pytest.fixture
def canvas() -> np.ndarray:
    return np.zeros((40, 60, 3), np.uint8)


def covered(canvas: np.ndarray) -> float:
    """In pixels."""
    return float(canvas[..., 0].sum()) / 255


def middle(canvas: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(canvas.shape[:2])
    weight = canvas[..., 0] / canvas[..., 0].sum()
    return float((x * weight).sum()), float((y * weight).sum())


@pytest.mark.parametrize("end", [(50, 10), (10, 35), (40.5, 30.25)])
def test_a_line_lies_between_its_points(canvas, end):
    line(canvas, [(10, 10), end], RED, 2)
    length = np.hypot(end[0] - 10, end[1] - 10)
    assert abs(covered(canvas) - 2 * length) < 0.15 * 2 * length
    assert np.allclose(middle(canvas), [(10 + end[0]) / 2, (10 + end[1]) / 2], atol=0.4)


def test_a_slanted_line_is_smooth(canvas):
    line(canvas, [(5, 5), (50, 20)], RED, 2)
    assert ((canvas[..., 0] > 30) & (canvas[..., 0] < 225)).sum() > 30


@pytest.mark.parametrize(("centre", "radius"), [((30, 20), 6), ((20.5, 10.25), 3.5), ((30, 20), 0.5)])
def test_a_dot_is_round_and_in_its_place(canvas, centre, radius):
    dot(canvas, centre, radius, RED)
    assert abs(covered(canvas) - np.pi * radius**2) < 0.25 * np.pi * radius**2 + 0.5
    assert np.allclose(middle(canvas), centre, atol=0.2)


def test_a_rectangle_is_an_outline(canvas):
    rectangle(canvas, (10, 10), (50, 30), RED, 2)
    assert canvas[20, 30, 0] == 0 and canvas[10, 30, 0] > 200 and canvas[20, 10, 0] > 200
    assert canvas[9:11, 9:11, 0].min() > 40, "a corner is missing"


@pytest.mark.parametrize("far", [1e3, 1e9, -1e9])
def test_what_is_outside_is_cut_off(canvas, far):
    line(canvas, [(10, 20), (far, 20)], RED, 2)
    assert canvas[20, 30, 0] == (255 if far > 0 else 0)
    dot(canvas, (far, far), 5, RED)
    rectangle(canvas, (-far, -far), (far, far), RED, 2)
