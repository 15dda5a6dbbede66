"""What the benchmarks say about their rows, and that the README says the same."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from goals import GOALS, verdicts  # noqa: E402
from readme import times_table, with_table  # noqa: E402

ROW = {"what": "denoiser 32×32", "dtype": "fp32", "plain_bytes": 2_000_000_000, "ours_bytes": 180_000_000}


def test_a_goal_is_met_missed_by_a_share_or_not_measured():
    rows = [
        ROW | {"frames": 100, "plain_s": 10.0, "ours_s": 2.5, "convolutions_s": 0.9},
        ROW | {"frames": 200, "plain_s": 36.0, "ours_s": 8.0, "convolutions_s": 4.0},
    ]
    lines = verdicts(rows)
    assert len(lines) == len(GOALS)
    assert lines[0].startswith("met: ") and lines[0].endswith("is 4.00")
    assert lines[1].startswith("missed by 25%") and lines[1].endswith("is 4.50")
    assert lines[2].startswith("missed by 20%") and lines[3].startswith("met: ")
    assert all(line.startswith("not measured: decode") for line in lines[4:])


def test_times_of_the_readme():
    rows = [
        ROW | {"frames": 100, "plain_s": 10.0, "ours_s": 2.5},
        ROW | {"frames": 1600, "ours_s": 40.0},
    ]
    assert times_table(rows).splitlines()[2:] == [
        "| 100 | 100 ms | 25 ms | 1/4.0 | 2,000 → 180 MB |",
        "| 1600 | not run | 25 ms |  | 180 MB |",
    ]


def test_the_readme_quotes_the_kept_results():
    """After a new measurement, run benchmarks/readme.py."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(text) == text
