"""Whatever a file or a text field holds: a value or a ValueError, at once. Seeded, so that a failure repeats.

DAWN_FUZZ_CASES=100000 python -m pytest tests/unit/test_fuzz.py
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_model.checkpoints.checkpoint import read_checkpoint
from dawn_model.config import DawnConfig
from dawn_model.face.given_faces import parse_box
from dawn_model.head_motion.file import load_head_motion, save_head_motion
from dawn_model.head_motion.keyframes import parse_keyframes
from dawn_model.motion_file import MotionFile, read_motion, write_motion
from dawn_model.official_keys.options import read_options
from dawn_model.structures import HeadMotion, MotionLatents

CASES = int(os.environ.get("DAWN_FUZZ_CASES", 2000))
LONGEST = 1.0
TOKENS = (
    "1", "-1", "0", "1e999", "nan", "inf", "9" * 400, "1_0", "=", ";", ",", "\n", "\r", "\t", " ", "#", "s", "f",
    "yaw", "blink", "eyes", "time", "[", "]", "{", "}", "&a", "*a", "<<", "!!python/object:os.system", "~", "\0", "é",
    '"', "'", "\ud7ff", "−1", "٣", "0x10", "..", "/", "\\", "%", "null", "true", "\ufeff",
)  # fmt: skip


def mixed(rng: np.random.Generator, good: str) -> str:
    """Tokens alone, or something good with tokens put in and pieces cut out."""
    if rng.random() < 0.3:
        return "".join(rng.choice(TOKENS, rng.integers(0, 40)))
    text = good
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(text) + 1))
        text = text[:place] + str(rng.choice(TOKENS)) + text[place + int(rng.integers(0, 6)) :]
    return text


def damaged(rng: np.random.Generator, good: bytes) -> bytes:
    """Bytes changed, most in the header; or cut short; or the header's length replaced."""
    data = bytearray(good)
    for _ in range(rng.integers(1, 8)):
        end = len(data) if rng.random() < 0.3 else min(len(data), 400)
        data[int(rng.integers(end))] = int(rng.integers(256))
    if rng.random() < 0.3:
        del data[int(rng.integers(len(data))) :]
    if rng.random() < 0.1:
        data[:8] = int(rng.integers(2**63)).to_bytes(8, "little")
    return bytes(data)


def survive(cases: int, attempt: Callable[[np.random.Generator], object]) -> None:
    worked = 0
    for seed in range(cases):
        begun = time.process_time()  # of this process alone, however busy the machine is
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                attempt(np.random.default_rng(seed))
            worked += 1
        except ValueError as error:
            assert str(error), f"seed {seed}: an error without a word"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        assert time.process_time() - begun < LONGEST, f"seed {seed} took too long"
    assert worked < cases, "nothing was refused: these cases are too kind"


def text_file(tmp_path: Path, name: str, good: str, read: Callable[[Path], object]):
    path = tmp_path / name

    def attempt(rng: np.random.Generator) -> None:
        path.write_bytes(mixed(rng, good).encode("utf-8", "surrogatepass"))
        read(path)

    return attempt


def binary_file(path: Path, read: Callable[[Path], object]):
    good = path.read_bytes()

    def attempt(rng: np.random.Generator) -> None:
        path.write_bytes(damaged(rng, good))
        read(path)

    return attempt


@pytest.fixture
def track() -> HeadMotion:
    return HeadMotion(torch.randn(5, 6), torch.rand(5, 2))


def test_keyframes():
    good = "1.5s yaw=10 blink=1; 3s yaw=0\n40f roll=-3.5 # nod\n4 eyes=0"
    survive(CASES, lambda rng: parse_keyframes(mixed(rng, good), 200))


def test_boxes():
    survive(CASES, lambda rng: parse_box(mixed(rng, "10, 20, 300, 400")))


def test_configurations():
    survive(CASES, lambda rng: DawnConfig.from_json(mixed(rng, DawnConfig().to_json())))


def test_configurations_of_wrong_values():
    values = [None, True, -1, 0, 1e308, "x", [], {}, [[]], 10**30, {"layers": 1}]

    def attempt(rng: np.random.Generator) -> None:
        fields = json.loads(DawnConfig().to_json())
        place = fields if rng.random() < 0.3 else fields[str(rng.choice(["denoiser", "autoencoder"]))]
        place[str(rng.choice([*place, "other"]))] = values[int(rng.integers(len(values)))]
        DawnConfig.from_json(json.dumps(fields))

    survive(CASES, attempt)


def test_tables(tmp_path, track):
    save_head_motion(track, tmp_path / "good.csv")
    good = (tmp_path / "good.csv").read_text(encoding="utf-8-sig")
    survive(CASES, text_file(tmp_path, "head.csv", good, load_head_motion))


def test_tracks(tmp_path, track):
    path = tmp_path / "head.safetensors"
    save_head_motion(track, path)
    survive(CASES, binary_file(path, load_head_motion))


def test_options(tmp_path):
    good = "model:\n  archiname: reemb5\n  dims: [1, 2]\nname: &a x\n"
    survive(CASES, text_file(tmp_path, "opt.yaml", good, read_options))


def test_motion_files(tmp_path):
    path = tmp_path / "a.motion.safetensors"
    latents = MotionLatents(torch.zeros(3, 4, 4, 2), torch.zeros(3, 1, 4, 4))
    write_motion(path, MotionFile(latents, torch.zeros(1, 1920), 16000, "dawn", 4))
    survive(CASES, binary_file(path, read_motion))


def test_model_files(tmp_path):
    """The header of a real model file; its tensors are cut off, which is said."""
    from dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL

    path = tmp_path / "model.safetensors"
    with EMBEDDED_MODEL.open("rb") as file:
        path.write_bytes(file.read(1 << 16))
    survive(CASES // 4, binary_file(path, read_checkpoint))
