"""Keeps the rows of benchmarks/run.py: as numbers in results/<device>.json, as a table in results/<device>.md.

A row replaces the one of the same case. Rows of other machines, threads or versions of torch are dropped, as times
compare on one machine only.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch
from goals import verdicts

FOLDER = Path(__file__).parent / "results"
COLUMNS = ["what", "dtype", "frames", "plain, per frame", "ours, per frame", "ratio"]
COLUMNS += ["of the convolutions alone", "of all products at their speed", "beside 100 frames"]
COLUMNS += ["plain, peak", "ours, peak"]


def keep(row: dict, device: str) -> list[dict]:
    """Add a row to the results of a device, and print it; returns all rows."""
    file, machine = FOLDER / f"{device}.json", this_machine(device)
    known = json.loads(file.read_text()) if file.exists() else {"machine": machine, "rows": []}
    others = known["rows"] if known["machine"] == machine else []
    rows = sorted([*(other for other in others if case(other) != case(row)), row], key=case)
    FOLDER.mkdir(exist_ok=True)
    file.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    title = f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}"
    lines = ["| " + " | ".join(line) + " |" for line in [COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows)]]
    goals = ["", "Goals:", "", *(f"- {verdict}" for verdict in verdicts(rows))]
    (FOLDER / f"{device}.md").write_text("\n".join([title, "", *lines, *goals]) + "\n")
    print(*cells(row), sep="  ", flush=True)
    return rows


def case(row: dict) -> tuple[bool, str, str, int]:
    """What a row measures, in the order of the table."""
    return row["dtype"] != "fp32", row["what"], row["dtype"], row["frames"]


def this_machine(device: str) -> dict:
    name = torch.cuda.get_device_name() if device != "cpu" else processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def processor() -> str:
    """The CPU's name and the instructions that decide about speed here."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    extensions = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name} " in text]
    return ", ".join([(names or [platform.machine()])[0], *extensions])


def cells(row: dict) -> list[str]:
    """A row of the table; what was not measured stays empty."""
    frames, ours, plain = (row.get(key) for key in ("frames", "ours_s", "plain_s"))
    convolutions, products = row.get("convolutions_s"), row.get("products_s")
    return [
        row["what"],
        row["dtype"],
        str(frames),
        f"{plain / frames * 1e3:.1f} ms" if plain else "",
        f"{ours / frames * 1e3:.{1 if ours > frames / 1e3 else 3}f} ms",
        f"1/{plain / ours:.2f}" if plain else "",
        f"{convolutions / ours:.0%}" if convolutions else "",
        f"{products / ours:.0%}" if products else "",
        f"{ours / row['short_s']:.2f}" if "short_s" in row else "",
        f"{row['plain_bytes'] / 1e6:.0f} MB" if plain else "",
        f"{row['ours_bytes'] / 1e6:.0f} MB",
    ]
