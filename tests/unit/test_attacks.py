"""Files and texts made to keep a computer busy: each ends within a second of computing, in words that fit on a node.

python -m pytest tests/unit/test_attacks.py --durations=0 prints the seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dawn_model.config import DawnConfig
from dawn_model.face.given_faces import parse_box
from dawn_model.head_motion.file import load_head_motion
from dawn_model.head_motion.keyframes import parse_keyframes
from dawn_model.official_keys.options import MAX_BYTES, read_options

HEADER = "time,yaw,pitch,roll,scale,x,y,left eye,right eye\n"


@contextlib.contextmanager
def within_a_second() -> Iterator[None]:
    begun = time.process_time()  # of this process alone, however busy the machine is
    yield
    assert time.process_time() - begun < 1


def row(moment: object) -> str:
    return f"{moment},0,0,0,1,0,0,.3,.3\n"


def aliases() -> str:
    """Nine lists of nine times the one before: 600 bytes that become gigabytes."""
    lists = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in itertools.pairwise("abcdefghij"):
        lists.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    return "\n".join(lists)


def configuration(part: str | None, **change: object) -> str:
    fields = json.loads(DawnConfig().to_json())
    (fields if part is None else fields[part]).update(change)
    return json.dumps(fields)


def in_a_file(name: str, read: Callable[[Path], object]):
    def attack(text: str, folder: Path) -> object:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return read(path)

    return attack


def yaml_file(text: str, folder: Path) -> object:
    return in_a_file("opt.yaml", read_options)(text, folder)


def table(text: str, folder: Path) -> object:
    return in_a_file("head.csv", load_head_motion)(HEADER + text, folder)


def keyframes(text: str, _folder: Path) -> object:
    return parse_keyframes(text, 200)


def box(text: str, _folder: Path) -> object:
    return parse_box(text)


def config(text: str, _folder: Path) -> object:
    return DawnConfig.from_json(text)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        pytest.param(yaml_file, aliases(), "aliases are not supported", id="YAML alias bomb"),
        pytest.param(yaml_file, "[" * (MAX_BYTES - 1), "not a readable YAML file", id="YAML nested without end"),
        pytest.param(yaml_file, "a: " + "9" * 30_000, "not a readable YAML file", id="YAML number of 30,000 digits",
                     marks=pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"),
                                              reason="this Python reads such numbers")),
        pytest.param(yaml_file, "a: 1\n" * MAX_BYTES, r"an options file has at most \d+", id="YAML of 160 kB"),
        pytest.param(keyframes, "1s yaw=" + "9" * 20_000, "is not a number", id="keyframes: 20,000 digits"),
        pytest.param(keyframes, "9" * 10**6 + "x yaw=1", "is not a number", id="keyframes: a million digits"),
        pytest.param(keyframes, "1s" + " " * 200_000 + "?", "sets nothing", id="keyframes: 200,000 spaces"),
        pytest.param(
            keyframes, "; ".join(f"{n / 10_000:.4f} yaw=1" for n in range(40_000)) + "; 99 yaw=1", "beyond the end",
            id="keyframes: 40,000 of them",
        ),
        pytest.param(keyframes, "1e999 yaw=1", "beyond the end", id="keyframes: OverflowError"),
        pytest.param(table, row(0) + row(1e6), r"1e\+06 s, and 14400", id="CSV: 0 and 1e6 s"),
        pytest.param(table, row("9" * 200_000), "is not a table that can be read", id="CSV: csv.Error"),
        pytest.param(table, row("9" * 130_000), "is not a finite number", id="CSV: 130,000 digits"),
        pytest.param(table, row("x" * 130_000), "is not a number", id="CSV: 130,000 letters"),
        pytest.param(table, row("\0"), "is not a number|can not be read|can be read", id="CSV: embedded null byte"),
        pytest.param(table, row(0) + row("1e999"), "is not a finite number", id="CSV: OverflowError"),
        pytest.param(box, "9" * 200_000, "is no box", id="box: 200,000 digits"),
        pytest.param(box, "1," + " " * 200_000 + "x", "is no box", id="box: 200,000 spaces"),
        pytest.param(config, configuration("autoencoder", bottleneck_blocks=4000), "is 4000", id="4,000 blocks"),
        pytest.param(config, configuration(None, image_size=10**9), "image_size is 10+;", id="image_size"),
        pytest.param(config, configuration(None, image_size=float("inf")), "image_size is inf", id="endless size"),
        pytest.param(config, configuration("denoiser", train_timesteps=10**9), "is 10+;", id="train_timesteps"),
        pytest.param(config, '{"name": ' + "9" * 10**6 + "}", "number of 1000000 digits", id="a million digits"),
        pytest.param(config, '{"denoiser":' * 100_000, "not a DAWN configuration", id="RecursionError"),
        pytest.param(
            config, configuration(None, motion=[{}] * 20_000), "motion lists 20000", id="20,000 networks"
        ),
    ],
)  # fmt: skip
def test_an_attack_ends_at_once_and_in_words(tmp_path, read, text, message):
    with within_a_second(), pytest.raises(ValueError, match=message) as told:
        read(text, tmp_path)
    assert len(str(told.value)) < 400 + len(str(tmp_path)), "nobody reads this"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (yaml_file, "".join(f"k{number}: 1\n" for number in range(3000))),
        (yaml_file, "a: [" + "1," * (MAX_BYTES // 2 - 8) + "]"),
        (yaml_file, "a: 1" + ":59" * 10_000),
        (keyframes, "1s" + " " * 200_000 + "yaw=1"),
        (keyframes, "; ".join(f"{number / 10_000:.4f} yaw=1" for number in range(40_000))),
        (table, row(0) + row(14_400)),
    ],
    ids=[
        "YAML of many keys",
        "long YAML list",
        "YAML base 60",
        "spaces",
        "40,000 keyframes",
        "four hours in two rows",
    ],
)
def test_the_most_that_is_accepted_is_read_at_once(tmp_path, read, text):
    with within_a_second():
        read(text, tmp_path)
