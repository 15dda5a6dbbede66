"""Tracks of head and eyes on disk: a CSV table for spreadsheets, or safetensors.

The table has one row per frame and the signs and units that a person reads (`head_axes.py`), so that numbers
can be edited by hand; the safetensors file has DAWN's own. Both come back bit for bit.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..structures import FPS, HeadMotion
from ..whole_file import whole_file
from .axes import POSE_AXES, as_seen
from .length import resample_track

FORMATS = ("csv", "safetensors")

_HEADERS = (
    "time (s)",
    "yaw (degrees, + right)",
    "pitch (degrees, + up)",
    "roll (degrees, + clockwise)",
    "scale",
    "x (px of 120, + right)",
    "y (px of 120, + up)",
    "left eye (height/width)",
    "right eye (height/width)",
)
_COLUMNS = ("time", *(axis.name for axis in POSE_AXES), "left eye", "right eye")
_SAME_TIME = 1e-3
_LONGEST = 4 * 3600
_FORMAT_KEY, _FORMAT = "format", "dawn-pose-blink-1"


def save_head_motion(motion: HeadMotion, path: Path) -> None:
    """The file's kind follows its suffix, .csv or .safetensors.

    Raises ValueError for another suffix, and when the file can not be written: then nothing is left of it.
    """
    pose, blink = motion.pose.float().cpu(), motion.blink.float().cpu()
    if path.suffix == ".safetensors":
        metadata = {
            _FORMAT_KEY: _FORMAT,
            "fps": str(FPS),
            "pose": "yaw, pitch, roll in degrees; scale, x, y in units of a 120-pixel crop; signs of 3DDFA",
            "blink": "left and right eye-aspect ratio",
        }
        with whole_file(path) as partial:
            save_file({"pose": pose.contiguous(), "blink": blink.contiguous()}, partial, metadata)
    elif path.suffix == ".csv":
        table = _table(torch.cat([as_seen(pose), blink], dim=1))
        with whole_file(path) as partial:
            partial.write_text(table, encoding="utf-8-sig", newline="")
    else:
        raise ValueError(f"{path.name}: a track of head and eyes is saved as .csv or .safetensors")


def load_head_motion(path: Path) -> HeadMotion:
    """A file that `save_head_motion` wrote, or a table that a person or another program made.

    Raises ValueError that names the file, and in a table row and column, when it can not be read.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file in UTF-8. Save the table as 'CSV UTF-8'") from error
    return _read_table(text, path.name)


def _table(rows: Tensor) -> str:
    """[F, 8] as seen → CSV with a column of times in front."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEADERS)
    for frame, row in enumerate(rows.numpy()):
        # The shortest digits that give the same float32 again, without an exponent.
        numbers = (np.format_float_positional(value, unique=True, trim="-") for value in row)
        writer.writerow([f"{frame / FPS:.2f}", *numbers])
    return text.getvalue()


def _read_table(text: str, name: str) -> HeadMotion:
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(";\t,", key=header.count) if header.count(";") + header.count("\t") else ","
    decimal = "," if delimiter == ";" else "."  # what spreadsheets write where the comma is the decimal sign
    try:
        table = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{name} is not a table that can be read ({error})") from error
    positions = _columns(table[0] if table else [], name)
    rows = []
    for number, cells in enumerate(table[1:], 2):
        if any(cell.strip() for cell in cells):
            rows.append(
                [_cell(cells, positions[column], column, number, decimal, name) for column in _COLUMNS]
            )
    if not rows:
        raise ValueError(f"{name} has a header and no rows. It needs one row per frame")
    values = torch.tensor(rows, dtype=torch.float64)
    times, track = values[:, 0] - values[0, 0], values[:, 1:].float()
    backwards = (times.diff() <= 0).nonzero()
    if len(backwards):
        row = int(backwards[0]) + 3
        raise ValueError(f"{name}: row {row}, column time: the time does not grow. Sort the rows by time")
    if times[-1] > _LONGEST:
        raise ValueError(
            f"{name}: column time: from the first to the last row are {float(times[-1]):g} s, and {_LONGEST} (four "
            "hours) are the most. Times are seconds"
        )
    frames = round(float(times[-1]) * FPS) + 1
    at_video_rate = len(times) == frames and bool(
        ((times - torch.arange(frames) / FPS).abs() < _SAME_TIME).all()
    )
    if not at_video_rate:
        track = resample_track(track, times, frames)
    return HeadMotion(as_seen(track[:, :6]), track[:, 6:].contiguous())


def _columns(header: list[str], name: str) -> dict[str, int]:
    """Where each column is; units in brackets, case and order do not matter, other columns are ignored."""
    names = [cell.partition("(")[0].strip().lower() for cell in header]
    missing = [column for column in _COLUMNS if column not in names]
    if missing:
        raise ValueError(
            f"{name}: row 1 has no column {', '.join(repr(column) for column in missing)}. The first row must "
            f"name the columns {', '.join(_COLUMNS)}"
        )
    return {column: names.index(column) for column in _COLUMNS}


def _cell(cells: list[str], position: int, column: str, row: int, decimal: str, name: str) -> float:
    text = cells[position].strip() if position < len(cells) else ""
    place = f"{name}: row {row}, column {column}"
    if not text:
        raise ValueError(f"{place}: the cell is empty. Every frame needs a number there")
    try:
        value = float(text.replace(decimal, "."))
    except ValueError:
        raise ValueError(f"{place}: {text[:60]!r} is not a number. Put a number into this cell") from None
    if not np.isfinite(value):
        raise ValueError(f"{place}: {text[:60]!r} is not a finite number. Put a number into this cell")
    return value


def _read_safetensors(path: Path) -> HeadMotion:
    try:
        with safe_open(path, "pt") as file:
            kind = (file.metadata() or {}).get(_FORMAT_KEY)
            tensors = {key: file.get_tensor(key).float().clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged or not a safetensors file ({error})") from error
    shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
    frames = shapes.get("pose", [0])[0]
    if kind != _FORMAT or shapes != {"pose": [frames, 6], "blink": [frames, 2]} or frames == 0:
        raise ValueError(
            f"{path.name} holds no track of head and eyes but {shapes}. Choose a file that DAWN Save Pose & Blink "
            "wrote"
        )
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{path.name} holds values that are not numbers (NaN or infinite)")
    return HeadMotion(**tensors)
