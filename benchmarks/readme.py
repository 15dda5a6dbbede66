"""Writes the README's table of times from benchmarks/results/cpu.json.

.venv/bin/python benchmarks/readme.py
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- by benchmarks/readme.py -->\n", "<!-- end of the table -->\n"
FRAMES = [25, 100, 200, 1600]
HEAD = ["frames", "plain, a frame", "this code, a frame", "ratio"]
HEAD += ["peak memory beside the weights, plain → this code"]


def times_table(rows: list[dict]) -> str:
    """The denoiser's rows in fp32, of the clips in FRAMES."""
    lines = [HEAD, ["---"] * len(HEAD)]
    lines += [
        cells(row)
        for row in rows
        if row["what"] == "denoiser 32×32" and row["dtype"] == "fp32" and row["frames"] in FRAMES
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cells(row: dict) -> list[str]:
    frames, memory = row["frames"], f"{row['ours_bytes'] / 1e6:,.0f} MB"
    ours = f"{row['ours_s'] / frames * 1e3:.0f} ms"
    if "plain_s" not in row:
        return [str(frames), "not run", ours, "", memory]
    plain, ratio = f"{row['plain_s'] / frames * 1e3:.0f} ms", f"1/{row['plain_s'] / row['ours_s']:.1f}"
    return [str(frames), plain, ours, ratio, f"{row['plain_bytes'] / 1e6:,.0f} → {memory}"]


def with_table(text: str) -> str:
    """The README's text with the table between its two marks made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    rows = json.loads((ROOT / "benchmarks" / "results" / "cpu.json").read_text())["rows"]
    return before + BEGIN + times_table(rows) + END + after


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
