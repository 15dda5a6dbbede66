"""The command for the day a GPU is lent runs as it is, here on the CPU with sizes as small as they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
SMALL = "--device cpu --frames 2 --pixels 32 --repeats 1 --steps 2 --clip-frames 2 --dtypes fp32"
SMALL += " --golden-sizes 128 --golden-dtypes fp32 --golden-frames 3 --profiles 2x32 --paste-frames 2"


def run(folder: Path, *options: str) -> dict:
    environment = os.environ | {"OUT": str(folder / "out")}
    command = [sys.executable, str(COMMAND), *SMALL.split(), "--results", str(folder / "results"), *options]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=300)
    copies = [(folder / part / "gpu-cpu.json").read_text() for part in ("results", "out")]
    assert copies[0] == copies[1]
    return json.loads(copies[0])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    return folder, run(folder)


def test_every_section_has_its_rows(results):
    folder, rows = results
    assert rows["left_out"] == rows["failed"] == []
    assert len(rows["correct"]) == 3  # a call, sampled flow, frames
    for row in rows["correct"]:
        assert row["within"] and row["error"] > 0, row
    assert [row["steps"] for row in rows["clip"]] == [2] and rows["clip"][0]["total_s"] > 0
    assert rows["profile"][0]["operations"] > 500 and rows["profile"][0]["top"]["operations"]
    assert rows["sizes"][0]["plain_s"] > 0 and rows["sizes"][0]["ours_s"] > 0
    assert [row["angle"] for row in rows["paste"]] == [0.0, 0.4]
    assert all(row["cpu_s"] > 0 and row["part_pixels"] > 10_000 for row in rows["paste"])
    text = (folder / "results" / "gpu-cpu.md").read_text()
    for heading in ("## correct", "## clip", "## profile", "## paste", "## sizes", "operations by time"):
        assert heading in text


def test_what_time_does_not_suffice_for_is_named(tmp_path):
    rows = run(tmp_path, "--seconds", "0.01", "--only", "clip", "sizes")
    assert rows["left_out"] == ["clip eager", "sizes fp32 2 frames 32 px"]
    assert "Left out for want of time: clip eager" in (tmp_path / "results" / "gpu-cpu.md").read_text()


FAILING = """
import pathlib, sys, torch
sys.path.insert(0, sys.argv[1])
from gpu import Bench, Results, measured
def call():
    raise RuntimeError("capture failed")
results = Results({"device": "cpu"}, [pathlib.Path(sys.argv[2])])
print(measured(Bench(torch.device("cpu"), 1, 1, 0.0, results), "graph", call), results.failed)
"""


def test_a_way_that_fails_is_named(tmp_path):
    """In a process of its own, because the command puts the repository on `sys.path`."""
    command = [sys.executable, "-c", FAILING, str(COMMAND.parent), str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    assert printed == "{'graph_s': 'failed'} ['graph: capture failed']\n"
