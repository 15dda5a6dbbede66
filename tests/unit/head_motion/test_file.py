"""Tracks on disk: exact round trips, what spreadsheets do to tables, and errors that name row and column."""

from __future__ import annotations

import csv
import re

import pytest
import torch
from safetensors.torch import save_file

from dawn_model.head_motion.file import load_head_motion, save_head_motion
from dawn_model.structures import HeadMotion


def track(frames: int = 30) -> HeadMotion:
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([20, 20, 20, 0.002, 60, 60])
    return HeadMotion(
        torch.randn(frames, 6, generator=generator) * size, torch.rand(frames, 2, generator=generator) / 2
    )


def same(a: HeadMotion, b: HeadMotion) -> bool:
    return torch.equal(a.pose, b.pose) and torch.equal(a.blink, b.blink)


@pytest.fixture
def table(tmp_path):
    """table(change) → the path of a saved table of 5 frames, whose text was changed."""
    path = tmp_path / "head.csv"
    save_head_motion(track(5), path)
    text = path.read_bytes().decode("utf-8-sig")

    def write(change=lambda text: text, encoding: str = "utf-8-sig"):
        path.write_bytes(change(text).encode(encoding))
        return path

    return write


@pytest.mark.parametrize("suffix", [".csv", ".safetensors"])
@pytest.mark.parametrize("frames", [1, 2, 333])
def test_files_give_back_every_bit(tmp_path, suffix, frames):
    motion = track(frames)
    save_head_motion(motion, tmp_path / f"head{suffix}")
    loaded = load_head_motion(tmp_path / f"head{suffix}")
    assert same(loaded, motion)
    assert loaded.pose.dtype == loaded.blink.dtype == torch.float32


def test_small_and_negative_zero_numbers_survive(tmp_path):
    motion = HeadMotion(torch.tensor([[0.0, -0.0, 1e-30, 1.6e-3, 1e-8, -1e5]]), torch.zeros(1, 2))
    save_head_motion(motion, tmp_path / "head.csv")
    assert same(load_head_motion(tmp_path / "head.csv"), motion)
    assert "e" not in (tmp_path / "head.csv").read_text(encoding="utf-8-sig").splitlines()[1]
    assert "-0," not in (tmp_path / "head.csv").read_text(encoding="utf-8-sig")


def test_a_table_for_people(tmp_path):
    """Header with units; degrees as seen, where 3DDFA's are the other way round."""
    motion = HeadMotion(torch.tensor([[-10.0, -5.0, -2.5, 0.0016, 60, 50]] * 2), torch.full((2, 2), 0.25))
    save_head_motion(motion, tmp_path / "head.csv")
    rows = list(csv.reader((tmp_path / "head.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert rows[0][:3] == ["time (s)", "yaw (degrees, + right)", "pitch (degrees, + up)"]
    assert rows[0][3] == "roll (degrees, + clockwise)"
    assert rows[2] == ["0.04", "10", "5", "2.5", "0.0016", "60", "50", "0.25", "0.25"]
    assert (tmp_path / "head.csv").read_bytes().startswith(b"\xef\xbb\xbf"), (
        "spreadsheets see UTF-8 by this mark"
    )


def shuffled(text: str) -> str:
    rows = [line.split(",") for line in re.sub(r' \([^)]*\)|"', "", text).splitlines()]
    return "\n".join(",".join([row[8], "note", *row[:8]]) for row in rows)


def decimal_comma(text: str) -> str:
    rows = csv.reader(text.splitlines())
    return "\r\n".join(";".join(cell.replace(".", ",") for cell in row) for row in rows)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\r\n", "\n"),
        lambda text: text + "\r\n,,,,\r\n",
        lambda text: text.replace("yaw (", "  YAW ("),
        decimal_comma,
        lambda text: "\n".join("\t".join(row) for row in csv.reader(text.splitlines())),
        shuffled,
    ],
    ids=["line ends", "empty rows", "case", "decimal comma", "tabs", "other order, no units"],
)  # fmt: skip
def test_what_spreadsheets_do_to_a_table(table, change):
    assert same(load_head_motion(table(change)), track(5))


def test_another_frame_rate_is_resampled(table):
    rows = ["time,yaw,pitch,roll,scale,x,y,left eye,right eye"]
    rows += [f"{5 + i / 60},{i},0,0,0.001,0,0,0.3,0.3" for i in range(121)]
    motion = load_head_motion(table(lambda text: "\n".join(rows)))
    assert len(motion) == 51
    assert torch.allclose(-motion.pose[:, 0], torch.arange(51) * 2.4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("yaw", "jaw").replace("right eye", "eye"),
         r"row 1 has no column 'yaw', 'right eye'\. The first row must name the columns time"),
        (lambda t: "\r\n".join(t.split("\r\n")[1:]), r"row 1 has no column 'time', 'yaw'"),
        (lambda t: "", r"row 1 has no column 'time'"),
        (lambda t: t.split("\r\n")[0], r"has a header and no rows"),
        (lambda t: t.replace("\r\n0.08,", "\r\n0.08,fast"), r"row 4, column yaw: 'fast[-\d.]+' is not a number"),
        (lambda t: re.sub(r"\r\n0.04,[^,]*,", "\r\n0.04,,", t), r"row 3, column yaw: the cell is empty"),
        (lambda t: re.sub(r",[^,]*\r\n0.08", "\r\n0.08", t), r"row 3, column right eye: the cell is empty"),
        (lambda t: re.sub(r"\r\n0.04,[^,]*,", "\r\n0.04,nan,", t), r"row 3, column yaw: 'nan' is not a finite number"),
        (lambda t: t.replace("\r\n0.08,", "\r\n0.02,"), r"row 4, column time: the time does not grow"),
        (lambda t: re.sub(r"\r\n0.08,", "\r\n1000000,", "\r\n".join(t.split("\r\n")[:4])),
         r"column time: from the first to the last row are 1e\+06 s"),
        (lambda t: t + "9" * 200_000, r"is not a table that can be read \(field larger"),
    ],
    ids=["columns", "no header", "empty", "no rows", "text", "empty cell", "short row", "nan", "time", "long", "cell"],
)  # fmt: skip
def test_errors_name_row_and_column(table, change, message):
    with pytest.raises(ValueError, match=rf"^head\.csv:? ?{message}"):
        load_head_motion(table(change))


def test_other_encodings(table):
    with pytest.raises(ValueError, match=r"head\.csv is not a text file in UTF-8\. Save the table as"):
        load_head_motion(table(encoding="utf-16"))


def test_safetensors_of_something_else(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(
        ValueError, match=r"other\.safetensors holds no track .*'weight': \[3\].*DAWN Save Pose"
    ):
        load_head_motion(path)
    path.write_bytes(b"not at all")
    with pytest.raises(ValueError, match=r"other\.safetensors is damaged or not a safetensors file"):
        load_head_motion(path)
    broken = track(3)
    broken.pose[1, 2] = torch.nan
    save_head_motion(broken, path)
    with pytest.raises(ValueError, match="values that are not numbers"):
        load_head_motion(path)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"head\.xls: a track of head and eyes is saved as"):
        save_head_motion(track(), tmp_path / "head.xls")
