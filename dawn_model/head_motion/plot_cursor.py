"""The plot of a track with a cursor that moves with time, to be shown beside the clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..drawing.shapes import dot, line
from ..structures import FPS
from .axes import POSE_AXES
from .plot import CURVE_COLOURS, EYE_COLOURS, TEXT_COLOUR, HeadMotionPlot

_CURSOR = (255, 255, 255)


def _write_values(draw: ImageDraw.ImageDraw, plot: HeadMotionPlot, frame: int, font) -> None:
    x, width = plot.right + 0.6 * plot.text, plot.picture.shape[1]
    now = plot.values[:, frame]
    for axis, row, colour, value in zip(POSE_AXES, plot.rows[1:7], CURVE_COLOURS, now[:6], strict=True):
        number = f"{value:.3f}" if axis.name == "scale" else f"{value:+.1f}"
        draw.text((x, (row.top + row.bottom) / 2), number + "°" * (axis.unit == "°"), colour, font, "lm")
    eyes = (plot.rows[-1].top + plot.rows[-1].bottom) / 2
    for index, colour in enumerate(EYE_COLOURS):
        draw.text((x, eyes + (index - 0.5) * 1.4 * plot.text), f"{now[6 + index]:.2f}", colour, font, "lm")
    draw.text((width - plot.text, 1.7 * plot.text), f"{frame / FPS:.2f} s", TEXT_COLOUR, font, "rm")


def plot_with_cursor(plot: HeadMotionPlot, on_frame: Callable[[int], None] | None = None) -> Tensor:
    """[F, H, W, 3] in 0..1: the plot with a line at every frame's time and the values there."""
    base = (plot.picture * 255).round().byte().numpy()
    frames = plot.values.shape[1]
    font = ImageFont.load_default(size=plot.text)
    curves = list(
        zip((*plot.rows[1:], plot.rows[-1]), (*CURVE_COLOURS, *EYE_COLOURS), plot.values, strict=True)
    )
    film = torch.empty(frames, *base.shape)
    for frame in range(frames):
        x = plot.left + (frame + 0.5) / frames * (plot.right - plot.left)
        canvas = base.copy()
        line(canvas, [(x, plot.rows[0].top), (x, plot.rows[-1].bottom)], _CURSOR, 1)
        for row, colour, values in curves:
            dot(canvas, (x, float(row.y(values[frame]))), plot.text * 0.32, colour)
        image = Image.fromarray(canvas)
        _write_values(ImageDraw.Draw(image), plot, frame, font)
        film[frame] = torch.from_numpy(np.array(image)).float() / 255
        if on_frame is not None:
            on_frame(frame + 1)
    return film
