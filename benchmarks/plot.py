"""Draws time and memory against the number of frames from benchmarks/results/<device>.json, as an SVG beside it.

    .venv/bin/python benchmarks/plot.py [cpu]

`run.py` calls this at its end. Drawn by hand, so that benchmarks need no further package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 320, 64, 16, 40, 48
COLOURS = {"plain": "#b3403a", "ours": "#2a6fb0"}
DASHES = {"fp32": "", "bf16": "6 4", "fp16": "2 3"}


def panel(
    title: str, unit: str, curves: dict[tuple[str, str], list[tuple[float, float]]], x0: float
) -> list[str]:
    """curves: (implementation, dtype) → points (frames, value); axes start at zero."""
    most_x = max(x for points in curves.values() for x, _ in points)
    most_y = max(y for points in curves.values() for _, y in points) * 1.05
    right, bottom = x0 + WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            x0 + LEFT + x / most_x * (WIDTH - LEFT - RIGHT),
            bottom - y / most_y * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<text x="{x0 + LEFT}" y="24" font-weight="bold">{title}</text>']
    for tick in range(5):
        y = most_y * tick / 4
        _, down = place(0, y)
        parts.append(f'<line x1="{x0 + LEFT}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 + LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{y:,.0f}</text>')
    parts.append(f'<text x="{x0 + LEFT - 6}" y="{TOP - 8}" text-anchor="end">{unit}</text>')
    for frames in sorted({x for points in curves.values() for x, _ in points}):
        along, _ = place(frames, 0)
        parts.append(f'<text x="{along:.1f}" y="{bottom + 18}" text-anchor="middle">{frames:g}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 36}" text-anchor="end">frames</text>')
    for (which, dtype), points in curves.items():
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(points)))
        style = f'stroke="{COLOURS[which]}" stroke-dasharray="{DASHES[dtype]}"'
        parts.append(f'<polyline points="{line}" fill="none" stroke-width="2" {style}/>')
        x, y = place(*max(points))
        parts.append(
            f'<text x="{x:.1f}" y="{y - 6:.1f}" text-anchor="end" fill="{COLOURS[which]}">{which}, {dtype}</text>'
        )
    return parts


def draw(device: str) -> Path:
    measured = json.loads((RESULTS / f"{device}.json").read_text())
    rows = [row for row in measured["rows"] if row["what"].startswith("denoiser")]
    if len({row["frames"] for row in rows}) < 2:
        raise ValueError(f"{device}.json holds fewer than two clip lengths; there is nothing to draw")
    longest = max(row["frames"] for row in rows if "plain_s" in row)
    times, memory = {}, {}
    for row in rows:
        for which in ("plain", "ours"):
            if f"{which}_s" not in row or row["frames"] > longest:
                continue
            key = which, row["dtype"]
            times.setdefault(key, []).append((row["frames"], row[f"{which}_s"] / row["frames"] * 1e3))
            memory.setdefault(key, []).append((row["frames"], row[f"{which}_bytes"] / 1e6))
    what = f"{rows[0]['what']}, {measured['machine']['device']}, {measured['machine']['threads']} threads"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT + 24}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        *panel("Time per frame and denoising step", "ms", times, 0),
        *panel("Peak memory beside the weights", "MB", memory, WIDTH),
        f'<text x="{LEFT}" y="{HEIGHT + 12}" fill="#666">{what}</text></svg>',
    ]
    target = RESULTS / f"{device}.svg"
    target.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    print(draw(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
