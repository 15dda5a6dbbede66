"""Smooth lines and dots on a picture: Pillow draws each at four times its size, and what it covers is mixed in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

_FINER = 4

Point = Sequence[float]
Colour = tuple[int, int, int]


def line(pixels: np.ndarray, points: Sequence[Point], colour: Colour, width: float) -> None:
    """A line through the points onto [H, W, 3] uint8, in place. (0, 0) is the middle of the first pixel; what lies
    outside is cut off."""
    for start, end in itertools.pairwise(points):
        _paint(
            pixels,
            [start, end],
            width / 2 + 1,
            colour,
            lambda draw, finer: draw.line(finer, fill=255, width=max(1, round(width * _FINER))),
        )


def rectangle(pixels: np.ndarray, low: Point, high: Point, colour: Colour, width: float) -> None:
    """The outline of a box, corners included."""
    (left, top), (right, bottom) = low, high
    half = width / 2
    for side in (
        [(left - half, top), (right + half, top)],
        [(right, top), (right, bottom)],
        [(right + half, bottom), (left - half, bottom)],
        [(left, bottom), (left, top)],
    ):
        line(pixels, side, colour, width)


def dot(pixels: np.ndarray, centre: Point, radius: float, colour: Colour) -> None:
    """A filled circle."""

    def draw_circle(draw: ImageDraw.ImageDraw, finer: list[tuple[float, float]]) -> None:
        (x, y), r = finer[0], radius * _FINER
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)

    _paint(pixels, [centre], radius + 1, colour, draw_circle)


def _paint(
    pixels: np.ndarray,
    points: Sequence[Point],
    reach: float,
    colour: Colour,
    draw: Callable[[ImageDraw.ImageDraw, list[tuple[float, float]]], None],
) -> None:
    """Mix a colour in where `draw` covers; it is given the points in the finer picture of what they span."""
    at = np.asarray(points, np.float64) + 0.5
    height, width = pixels.shape[:2]
    left, top = (max(0, math.floor(max(low, -1.0) - reach)) for low in at.min(0))
    right, bottom = (
        min(size, math.ceil(min(high, size + 1.0) + reach))
        for high, size in zip(at.max(0), (width, height), strict=True)
    )
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", ((right - left) * _FINER, (bottom - top) * _FINER))
    # Far outside, Pillow's whole numbers would overflow.
    finer = np.clip((at - (left, top)) * _FINER - 0.5, -(2**20), 2**20)
    draw(ImageDraw.Draw(mask), [tuple(point) for point in finer.tolist()])
    cover = (
        np.asarray(mask.resize((right - left, bottom - top), Image.Resampling.BOX), np.float32)[..., None]
        / 255
    )
    part = pixels[top:bottom, left:right]
    part[:] = np.round(part + cover * (np.asarray(colour, np.float32) - part)).astype(np.uint8)
