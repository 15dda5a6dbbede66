"""What benchmarks/run.py is to reach, and by how much its rows miss it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """The row it is about, and the least that `value` of that row may be."""

    what: str
    dtype: str
    frames: int
    of: str
    least: float
    value: Callable[[dict], float]

    def verdict(self, rows: list[dict]) -> str:
        """One line: met, missed and by how much, or not measured."""
        name = f"{self.what}, {self.dtype}, {self.frames} frames: {self.of} {self.least:g}"
        for row in rows:
            if (row["what"], row["dtype"], row["frames"]) == (self.what, self.dtype, self.frames):
                value = self.value(row)
                if value >= self.least:
                    return f"met: {name}, is {value:.2f}"
                return f"missed by {1 - value / self.least:.0%}: {name}, is {value:.2f}"
        return f"not measured: {name}"


def speedup(row: dict) -> float:
    return row["plain_s"] / row["ours_s"]


def convolutions(row: dict) -> float:
    return row["convolutions_s"] / row["ours_s"]


TIMES, SHARE = "times as fast as the plain computation", "of the time the convolutions take alone"
GOALS = [
    Goal("denoiser 32×32", "fp32", 100, TIMES, 4, speedup),
    Goal("denoiser 32×32", "fp32", 200, TIMES, 6, speedup),
    Goal("denoiser 32×32", "fp32", 100, SHARE, 0.45, convolutions),
    Goal("denoiser 32×32", "fp32", 200, SHARE, 0.45, convolutions),
    Goal("decode 128 px", "fp32", 4, TIMES, 2, speedup),
    Goal("decode 256 px", "fp32", 4, TIMES, 2, speedup),
]


def verdicts(rows: list[dict]) -> list[str]:
    return [goal.verdict(rows) for goal in GOALS]
