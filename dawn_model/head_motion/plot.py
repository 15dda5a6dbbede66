"""A picture of a track of head and eyes that a person reads at a glance.

From top to bottom: the speech, six curves of the pose, the eyes; blinks are marked through all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..structures import FPS, FaceState, HeadMotion
from .axes import POSE_AXES, HeadAxis, as_seen
from .blinks import find_blinks
from .plot_canvas import Canvas, Colour, nice_step

SMALLEST = (480, 360)

_BACKGROUND, _PANEL, _GRID = (22, 24, 29), (30, 33, 40), (52, 56, 66)
TEXT_COLOUR, _FAINT = (226, 229, 236), (138, 144, 158)
_WAVE, _BLINK, _REST = (120, 132, 160), (255, 255, 255, 26), (150, 156, 170)
CURVE_COLOURS = (
    (255, 122, 110), (112, 214, 140), (104, 168, 255), (232, 190, 92), (198, 148, 255), (96, 212, 216),
)  # fmt: skip
EYE_COLOURS = ((255, 170, 210), (150, 220, 255))

_HEIGHTS = (1.0, *3 * (1.25,), *3 * (0.9,), 1.25)
"""Of the rows, relative to each other: speech, angles, scale and position, eyes."""

_SHOWN_AS = (1, 1, 1, 1000, 1, 1, 1, 1)
"""A scale is about 0.0005: it is shown in thousandths."""

_SMALLEST_SPAN = (10.0, 10.0, 10.0, 0.05, 10.0, 10.0)
"""What a row shows at least, so that a head that hardly moves looks as if it hardly moved."""

_EYES_AXIS = HeadAxis("eyes", "h/w", "open", "shut", 1)


@dataclass(frozen=True)
class PlotRow:
    """One strip of the plot: which values it shows where."""

    top: float
    bottom: float
    low: float
    high: float

    def y(self, value):
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)


@dataclass(frozen=True)
class HeadMotionPlot:
    """picture [H, W, 3] in 0..1; left, right: where time begins and ends; rows and values [8, F]: the pose as
    seen and both eyes, to place a cursor; text: size of the letters."""

    picture: Tensor
    left: float
    right: float
    rows: tuple[PlotRow, ...]
    values: np.ndarray
    text: float


def plot_head_motion(
    motion: HeadMotion,
    width: int,
    height: int,
    waveform: Tensor | None = None,
    rest: FaceState | None = None,
    room_for_values: bool = False,
) -> HeadMotionPlot:
    """Draw the whole track.

    Args:
        waveform: [C, T], as long as the track.
        rest: of the portrait; a dashed line shows how it holds head and eyes.
        room_for_values: leave a margin on the right for what `plot_with_cursor` writes there.

    Raises:
        ValueError: an empty track, one with NaN or infinity, or a picture too small to read.
    """
    frames = len(motion)
    if frames == 0:
        raise ValueError("the track of head and eyes is empty: there is nothing to plot")
    if not (motion.pose.isfinite().all() and motion.blink.isfinite().all()):
        raise ValueError("the track of head and eyes holds values that are not numbers (NaN or infinite)")
    if width < SMALLEST[0] or height < SMALLEST[1]:
        raise ValueError(
            f"a plot of {width}×{height} can not be read; use {SMALLEST[0]}×{SMALLEST[1]} or more"
        )
    text = max(9.0, min(height / 56, width / 72))
    values = _as_shown(motion.pose, motion.blink).T.numpy()
    rest_values = None if rest is None else _as_shown(rest.pose, rest.blink).tolist()
    canvas = Canvas(width, height, _BACKGROUND)
    left, right = 11.5 * text, width - (6.5 if room_for_values else 1.5) * text
    seconds = frames / FPS
    blinks = find_blinks(motion)
    _title(canvas, right, text, seconds, frames, len(blinks), rest is not None)
    rows = _rows(values, rest_values, 3.4 * text, height - 2.6 * text, 0.7 * text)
    for row in rows:
        canvas.rectangle(left, row.top, right, row.bottom, _PANEL)
    for first, end in blinks:
        ends = (left + (right - left) * edge / frames for edge in (first, end))
        start, stop = ends
        canvas.rectangle(start, rows[0].top, max(stop, start + 1.5), rows[-1].bottom, _BLINK)
    _time_axis(canvas, left, right, rows, seconds, text)
    _speech(canvas, left, right, rows[0], waveform, text)
    x = left + (np.arange(frames) + 0.5) / frames * (right - left)
    for index, axis in enumerate(POSE_AXES):
        _row_labels(canvas, rows[1 + index], left, right, text, axis, CURVE_COLOURS[index])
    _row_labels(canvas, rows[-1], left, right, text, _EYES_AXIS, TEXT_COLOUR)
    for index, (row, colour) in enumerate(
        zip((*rows[1:], rows[-1]), (*CURVE_COLOURS, *EYE_COLOURS), strict=True)
    ):
        if rest_values is not None:
            canvas.dashes(left, right, row.y(rest_values[index]), _REST if index < 6 else colour)
        _curve(canvas, x, row.y(values[index]), colour, text)
    _eyes_legend(canvas, rows[-1], text)
    return HeadMotionPlot(canvas.finish(), left, right, rows, values, text)


def _rows(
    values: np.ndarray, rest_values: list[float] | None, top: float, bottom: float, gap: float
) -> tuple[PlotRow, ...]:
    share = (bottom - top - gap * (len(_HEIGHTS) - 1)) / sum(_HEIGHTS)
    rows = []
    for index, height in enumerate(_HEIGHTS):
        shown = np.array([-1.0, 1.0])
        if 1 <= index <= 6:
            shown = values[index - 1]
        elif index == 7:
            shown = values[6:]
        low, high = float(shown.min()), float(shown.max())
        if rest_values is not None and index:
            reference = rest_values[index - 1 : index] if index < 7 else rest_values[6:]
            low, high = min(low, *reference), max(high, *reference)
        if 1 <= index <= 6:
            missing = max(0.0, _SMALLEST_SPAN[index - 1] - (high - low)) / 2
            low, high = low - missing, high + missing
        elif index == 7:
            low, high = 0.0, max(0.4, high)
        margin = 0.1 * (high - low) if index else 0.0
        rows.append(PlotRow(top, top + height * share, low - margin, high + margin))
        top += height * share + gap
    return tuple(rows)


def _as_shown(pose: Tensor, blink: Tensor) -> Tensor:
    """[..., 8]: the pose with the signs and units of the plot, then both eyes."""
    values = torch.cat([as_seen(pose.float().cpu()), blink.float().cpu()], dim=-1)
    return values * values.new_tensor(_SHOWN_AS)


def _title(
    canvas: Canvas, right: float, text: float, seconds: float, frames: int, blinks: int, rest: bool
) -> None:
    """What this is, the facts, and what bars and dashes mean where there is room for it."""
    y, x = 1.7 * text, 1.2 * text
    canvas.text(x, y, "Head pose and blinks", 1.3 * text, TEXT_COLOUR)
    x += canvas.length("Head pose and blinks", 1.3 * text) + 1.5 * text
    rate = f" ({60 * blinks / seconds:.0f} per minute)" if seconds >= 5 else ""
    facts = f"{seconds:.2f} s · {frames} frames · {blinks} blink{'s' * (blinks != 1)}{rate}"
    canvas.text(x, y, facts, text, _FAINT)
    x += canvas.length(facts, text) + 2 * text
    for name in ("as in the portrait", "blink") if rest else ("blink",):
        start = right - canvas.length(name, 0.9 * text)
        if start - 2 * text < x:
            return
        canvas.text(start, y, name, 0.9 * text, _FAINT)
        if name == "blink":
            canvas.rectangle(start - 1.1 * text, y - 0.6 * text, start - 0.5 * text, y + 0.6 * text, _GRID)
        else:
            canvas.dashes(start - 2.3 * text, start - 0.5 * text, y, _REST, 0.4 * text)
        right = start - 3.5 * text


def _time_axis(canvas: Canvas, left: float, right: float, rows, seconds: float, text: float) -> None:
    step = nice_step(seconds, most=round((right - left) / (5 * text)))
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    for tick in range(int(seconds / step + 1e-6) + 1):
        x = left + (right - left) * tick * step / seconds
        for row in rows:
            canvas.line([(x, row.top), (x, row.bottom)], _GRID, 0.5)
        canvas.text(x, rows[-1].bottom + 1.2 * text, f"{tick * step:.{digits}f}", 0.9 * text, _FAINT, "mm")
    canvas.text(1.2 * text, rows[-1].bottom + 1.2 * text, "time in seconds", 0.9 * text, _FAINT)


def _speech(
    canvas: Canvas, left: float, right: float, row: PlotRow, waveform: Tensor | None, text: float
) -> None:
    middle = (row.top + row.bottom) / 2
    canvas.text(1.2 * text, middle, "speech", text, TEXT_COLOUR)
    if waveform is None or waveform.shape[-1] == 0:
        canvas.text((left + right) / 2, middle, "no sound connected", 0.9 * text, _FAINT, "mm")
        return
    mono = waveform.float().mean(0).cpu().numpy()
    loudest = max(float(np.abs(mono).max()), 1e-6)
    columns = 2 * int(right - left)
    edges = np.linspace(0, len(mono), columns + 1).astype(int)
    starts = np.minimum(edges[:-1], len(mono) - 1)
    low, high = (
        reduce(mono, starts) / loudest * 0.95 for reduce in (np.minimum.reduceat, np.maximum.reduceat)
    )
    canvas.bars(left, row.y(low), row.y(high), _WAVE)


def _row_labels(
    canvas: Canvas, row: PlotRow, left: float, right: float, text: float, axis: HeadAxis, colour: Colour
) -> None:
    """Name and unit, what up and down mean, and a grid with numbers."""
    step, ticks = _ticks(row, 0.3 * text, most=max(2, int((row.bottom - row.top) / (1.5 * text))))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    for tick in ticks:
        y = row.y(tick * step)
        canvas.line([(left, y), (right, y)], _GRID, 1.0 if tick == 0 else 0.5)
        canvas.text(left - 0.5 * text, y, f"{tick * step:.{digits}f}", 0.8 * text, _FAINT, "rm")
    unit = "/1000" if axis.name == "scale" else axis.unit
    canvas.text(1.2 * text, (row.top + row.bottom) / 2, f"{axis.name} {unit}", text, colour)
    canvas.text(1.2 * text, row.top + 0.6 * text, axis.positive, 0.75 * text, _FAINT)
    canvas.text(1.2 * text, row.bottom - 0.6 * text, axis.negative, 0.75 * text, _FAINT)


def _ticks(row: PlotRow, edge: float, most: int) -> tuple[float, list[int]]:
    """A step and the multiples of it that lie inside the row: about `most`, at least two."""
    while True:
        step = nice_step(row.high - row.low, most)
        first, last = int(np.ceil(row.low / step - 1e-6)), int(np.floor(row.high / step + 1e-6))
        ticks = [
            tick
            for tick in range(first, last + 1)
            if min(row.y(tick * step) - row.top, row.bottom - row.y(tick * step)) >= edge
        ]
        if len(ticks) >= 2:
            return step, ticks
        most += 1


def _eyes_legend(canvas: Canvas, row: PlotRow, text: float) -> None:
    x = 1.7 * text + canvas.length(f"{_EYES_AXIS.name} {_EYES_AXIS.unit}", text)
    for name, colour in zip(("left", "right"), EYE_COLOURS, strict=True):
        canvas.text(x, (row.top + row.bottom) / 2, name, 0.75 * text, colour)
        x += 0.5 * text + canvas.length(name, 0.75 * text)


def _curve(canvas: Canvas, x: np.ndarray, y: np.ndarray, colour: Colour, text: float) -> None:
    if len(x) == 1:
        x, y = np.array([x[0] - text, x[0] + text]), np.repeat(y, 2)
    canvas.line(list(zip(x.tolist(), y.tolist(), strict=True)), colour, max(1.2, text / 8))
