"""A small drawing surface for plots: Pillow at twice the size, so that lines come out smooth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FINER = 2

Colour = tuple[int, ...]


class Canvas:
    """All lengths are in pixels of the finished picture. Colours are RGB, or RGBA to shine through."""

    def __init__(self, width: int, height: int, background: Colour):
        self._image = Image.new("RGB", (width * FINER, height * FINER), background)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        if right > left and bottom > top:
            self._draw.rectangle(
                [left * FINER, top * FINER, right * FINER - 1, bottom * FINER - 1], fill=fill
            )

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 1.0) -> None:
        scaled = [(x * FINER, y * FINER) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width * FINER)), joint="curve")

    def dashes(self, left: float, right: float, y: float, colour: Colour, dash: float = 5.0) -> None:
        x = left
        while x < right:
            self.line([(x, y), (min(x + dash, right), y)], colour)
            x += 2 * dash

    def bars(self, left: float, low: np.ndarray, high: np.ndarray, colour: Colour) -> None:
        """One upright bar per pixel of the finer picture, from low[i] to high[i]."""
        for index, (top, bottom) in enumerate(zip(high * FINER, low * FINER, strict=True)):
            x = left * FINER + index
            self._draw.line([(x, min(top, bottom - 1)), (x, bottom)], fill=colour)

    def text(self, x: float, y: float, text: str, size: float, colour: Colour, anchor: str = "lm") -> None:
        font = ImageFont.load_default(size=size * FINER)
        self._draw.text((x * FINER, y * FINER), text, fill=colour, font=font, anchor=anchor)

    def length(self, text: str, size: float) -> float:
        return ImageFont.load_default(size=size * FINER).getlength(text) / FINER

    def finish(self) -> Tensor:
        """[H, W, 3] in 0..1."""
        size = (self._image.width // FINER, self._image.height // FINER)
        pixels = np.array(self._image.resize(size, Image.Resampling.BOX))
        return torch.from_numpy(pixels).float() / 255


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 · 10^n that cuts a span into at most `most` parts."""
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
