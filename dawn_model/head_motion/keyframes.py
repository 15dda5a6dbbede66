"""Keyframe text: what a person writes to move head and eyes at chosen moments.

    1.5s yaw=10 blink=1; 3s yaw=0

Entries are separated by semicolons or line breaks; `#` starts a comment. A time is in seconds (`1.5s` or
`1.5`) or a frame (`40f`). Angles are degrees to add to the motion, as seen on the screen (`head_axes.py`),
`eyes` opens (1 as they are, 0 shut), and `blink` blinks once at that moment, 1 fully. An axis starts at rest,
passes smoothly through its values and keeps the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..structures import FPS

RANGES = {"yaw": (-90, 90), "pitch": (-90, 90), "roll": (-90, 90), "eyes": (0, 2), "blink": (0, 1)}
"""What may be set, and from where to where."""

NEUTRAL = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "eyes": 1.0}
"""Where an axis starts when its first keyframe is later; a blink is a moment and no curve."""

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_MOST_DIGITS = 40
_EXAMPLE = "Write for example: 1.5s yaw=10 blink=1; 3s yaw=0"


@dataclass(frozen=True)
class Keyframe:
    """What is set at one moment: axis → value. `time` in seconds."""

    time: float
    values: dict[str, float]


def parse_keyframes(text: str, frames: int) -> tuple[Keyframe, ...]:
    """Text → keyframes in order of time, for a clip of `frames` frames.

    Raises ValueError that names the line for times out of order or beyond the end, unknown axes, values that
    are no numbers or out of range, and an axis set twice at one moment.
    """
    keyframes: list[Keyframe] = []
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].split(";"):
            if not entry.strip():
                continue
            place = f"keyframes: line {number} ({entry.strip()[:60]!r})"
            keyframe = _parse_entry(entry, place)
            _check_time(keyframe, keyframes, frames / FPS, place)
            keyframes.append(keyframe)
    return tuple(keyframes)


def keyframe_curve(keyframes: tuple[Keyframe, ...], axis: str, frames: int) -> Tensor | None:
    """One axis at every frame, [F] float32, or None where no keyframe sets it."""
    points = [(key.time, key.values[axis]) for key in keyframes if axis in key.values]
    if not points:
        return None
    if points[0][0] > 0:
        points.insert(0, (0.0, NEUTRAL[axis]))
    times, values = torch.tensor(points, dtype=torch.float64).T.contiguous()
    return _smooth_path(times, values, torch.arange(frames, dtype=torch.float64) / FPS).float()


def keyframe_blinks(keyframes: tuple[Keyframe, ...]) -> list[tuple[float, float]]:
    """Moments in seconds and how far the eyes shut, 0..1."""
    return [(key.time, key.values["blink"]) for key in keyframes if key.values.get("blink")]


def _parse_entry(entry: str, place: str) -> Keyframe:
    joined = "=".join(
        part.strip() for part in entry.split("=")
    )  # a regular expression backtracks over long gaps
    time, *assignments = re.split(r"[\s,]+", joined.strip(","))
    seconds = _number(re.sub(r"[sf]$", "", time), "the time " + repr(time), place)
    if time.endswith("f"):
        seconds /= FPS
    if seconds < 0:
        raise ValueError(f"{place}: the time must not be negative. {_EXAMPLE}")
    if not assignments:
        raise ValueError(f"{place}: nothing is set at this time. {_EXAMPLE}")
    values: dict[str, float] = {}
    for assignment in assignments:
        axis, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{place}: {assignment!r} sets nothing, it has no '='. {_EXAMPLE}")
        if axis not in RANGES:
            raise ValueError(f"{place}: unknown axis {axis!r}. Use {', '.join(RANGES)}")
        if axis in values:
            raise ValueError(f"{place}: {axis} is set twice. Keep one of the two")
        values[axis] = _number(value, f"{axis}={value}", place)
        low, high = RANGES[axis]
        if not low <= values[axis] <= high:
            raise ValueError(f"{place}: {axis}={value} is out of range. Use {low} to {high}")
    return Keyframe(seconds, values)


def _number(text: str, what: str, place: str) -> float:
    if len(text) > _MOST_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError(f"{place}: {what[:60]} is not a number. {_EXAMPLE}")
    return float(text)


def _check_time(keyframe: Keyframe, before: list[Keyframe], end: float, place: str) -> None:
    if keyframe.time > end + 1e-9:
        raise ValueError(
            f"{place}: {keyframe.time:g} s is beyond the end; the clip lasts {end:.2f} s. Move or remove it"
        )
    if before and keyframe.time < before[-1].time:
        raise ValueError(
            f"{place}: {keyframe.time:g} s is out of order, it comes after {before[-1].time:g} s. "
            "Sort the keyframes by time"
        )
    for earlier in reversed(before):
        if earlier.time < keyframe.time:  # they are in order, so a text of any length is read in one pass
            break
        twice = keyframe.values.keys() & earlier.values.keys()
        if twice:
            raise ValueError(
                f"{place}: {sorted(twice)[0]} is set twice at {keyframe.time:g} s. Keep one of the two"
            )


def _smooth_path(times: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Piecewise cubic through the points [N] that never overshoots, held beyond both ends.

    Source: monotone slopes, Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5(2), 1984; flat at both ends.
    """
    if len(times) == 1:
        return values.expand(len(at))
    gaps = times.diff()
    steepness = values.diff() / gaps
    slopes = torch.zeros_like(values)
    before, after = steepness[:-1], steepness[1:]
    same_way = before * after > 0
    weights = 2 * gaps[1:] + gaps[:-1], gaps[1:] + 2 * gaps[:-1]
    mean = (weights[0] + weights[1]) / (weights[0] / before + weights[1] / after)
    slopes[1:-1] = torch.where(same_way, mean, 0.0)
    left = (torch.searchsorted(times, at, right=True) - 1).clamp(0, len(gaps) - 1)
    gap = gaps[left]
    t = ((at - times[left]) / gap).clamp(0, 1)
    start, end = values[left], values[left + 1]
    return (
        start * (1 + 2 * t) * (1 - t) ** 2
        + end * t**2 * (3 - 2 * t)
        + gap * t * (1 - t) * (slopes[left] * (1 - t) - slopes[left + 1] * t)
    )
