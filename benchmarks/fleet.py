"""What scripts/fleet.py costs and what it keeps busy: utilisation, overhead, large tables, many workers, a split clip.

    COMFYUI_PATH=… .venv/bin/python benchmarks/fleet.py
    COMFYUI_PATH=… .venv/bin/python benchmarks/fleet.py --only table stubs --split-seconds 600

Needs requirements-fleet.txt. ComfyUIs are started with one core each and the embedded model, which speaks clips of
`--clip-seconds`. Results go to benchmarks/results/fleet.md, each measurement in its line; those not asked for stay.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

from comfy_harness.stub_server import WORKFLOW, StubServers  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from fleet.results import fields_up_to  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "fleet.md"
PORTRAIT, SPEECH = ROOT / "media/portraits/astronaut.png", ROOT / "media/speech/sense_and_sensibility.wav"
TINY = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "tiny"}},
}


def talking(longest: int, with_frames: bool) -> dict:
    workflow = json.loads((ROOT / "workflows/api/dawn_talking_head.json").read_text(encoding="utf-8"))
    del workflow["12"]
    workflow["15"]["inputs"]["longest_side"] = longest
    if with_frames:
        workflow["20"] = {
            "class_type": "SaveImage",
            "inputs": {"images": ["15", 0], "filename_prefix": "frames"},
        }
    return workflow


class Fleet:
    """One run of the command: its last lines, results and seconds."""

    def __init__(self, workflow: dict, rows: list[dict], *arguments: str, output: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="dawn-fleet-benchmark-") as folder:
            (Path(folder) / "workflow.json").write_text(json.dumps(workflow))
            with (Path(folder) / "jobs.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            files = [f"{folder}/workflow.json", f"{folder}/jobs.csv", "--output", str(output)]
            began = time.monotonic()
            self.process = subprocess.run(
                [sys.executable, str(ROOT / "scripts" / "fleet.py"), *files, *arguments],
                capture_output=True, text=True,
            )  # fmt: skip
            self.wall = time.monotonic() - began
        if self.process.returncode:
            raise SystemExit(f"fleet.py failed:\n{self.process.stderr}\n{self.process.stdout}")
        self.busy = [int(share) for share in re.findall(r"(\d+)% busy", self.process.stdout)]
        if (output / "results.csv").is_file():
            table = output / "results.csv"
            with fields_up_to(table.stat().st_size), table.open(newline="") as file:
                self.lines = list(csv.DictReader(file))
            clock = re.search(r"failed in ([\d.]+) s", self.process.stdout)
            self.seconds = float(clock[1])


def spoken(name: str, seed: int, seconds: float, start: float = 0.0) -> dict:
    return {
        "name": name, "LoadImage.image": PORTRAIT, "LoadAudio.audio": SPEECH, "DawnSampleMotion.seed": seed,
        "DawnEncodeAudio.start": start, "DawnEncodeAudio.duration": seconds,
    }  # fmt: skip


def clips(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    rows = [spoken(f"clip{number}", number, options.clip_seconds) for number in range(options.clips)]
    two = Fleet(talking(256, False), rows, "--cpus", "1", "--workers", "2", output=folder / "two")
    one = Fleet(talking(256, False), rows, "--cpus", "2", "--workers", "1", output=folder / "one")
    names = sorted(line["name"] for line in two.lines)
    once = "each once" if names == sorted(row["name"] for row in rows) else "NOT each once"
    return [
        (
            f"{options.clips} clips of {options.clip_seconds} s on two workers",
            "≥ 85 % busy; no job twice, none lost",
            f"{', '.join(f'{share} %' for share in two.busy)} busy; {once}; {two.seconds:.0f} s",
        ),
        ("the same on one worker with both cores", "", f"{one.busy[0]} % busy; {one.seconds:.0f} s"),
    ]


def overhead(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    rows = [{"name": f"tiny{number}", "EmptyImage.color": number} for number in range(200)]
    done = Fleet(TINY, rows, "--cpus", "1", "--workers", "2", output=folder / "tiny")
    each = done.seconds * 2 / len(rows)
    server = np.mean([float(line["seconds"]) for line in done.lines])
    return [
        (
            "a job, of 200 tiny ones on two workers",
            "≤ 150 ms beside its own time",
            f"{each * 1000:.0f} ms of a worker in all, of which the server had it {server * 1000:.0f} ms",
        )
    ]


def table(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    rows = [spoken(f"c{number}", number, 1.0) for number in range(10_000)]
    base = folder / "comfy"
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), base, [ROOT]) as server:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        done = Fleet(talking(256, False), rows, "--check", "--servers", server.url, output=folder / "checked")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    note = "" if before < peak * 1000 else ", or less: another child was larger"
    measured = f"{done.wall:.1f} s, {peak:.0f} MB{note}"
    return [("10,000 rows: --check, Ray's start included", "≤ 20 s, ≤ 500 MB", measured)]


def stubs(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    seconds, each = 5.0, 4
    rows = [{"name": f"s{number}", "StubSave.note": number} for number in range(64 * each)]
    with StubServers(64, seconds) as servers:
        done = Fleet(WORKFLOW, rows, "--servers", servers.urls, output=folder / "stubs")
        worked = sum(end - begin for server in servers.servers for begin, end in server.spans)
    share = worked / (64 * done.seconds)
    return [
        (
            f"64 stub servers, {each} jobs of {seconds:g} s each",
            "≥ 90 %",
            f"{share:.0%} of their time at work",
        )
    ]


def split(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    seconds = options.split_seconds
    speech = folder / "long.wav"
    _repeat(SPEECH, speech, seconds)
    row = spoken("long", 1, 0) | {"LoadAudio.audio": speech}
    whole = Fleet(talking(128, True), [row], "--cpus", "1", "--workers", "1", output=folder / "whole")
    parts = Fleet(
        talking(128, True),
        [row],
        "--cpus",
        "1",
        "--workers",
        "2",
        "--split-render",
        "4",
        output=folder / "parts",
    )
    names = [
        [name for name in run.lines[0]["files"].split("|") if name.endswith(".png")] for run in (whole, parts)
    ]
    differ = sum(
        (np.array(Image.open(folder / "whole" / one)) != np.array(Image.open(folder / "parts" / two))).any()
        for one, two in zip(*names, strict=True)
    )
    with av.open(str(folder / "parts" / "long.mp4")) as video:
        pictures = [frame.pts * frame.time_base for frame in video.decode(video.streams.video[0])]
    with av.open(str(folder / "parts" / "long.mp4")) as video:
        sound = sum(part.samples / part.sample_rate for part in video.decode(video.streams.audio[0]))
    even = all(abs(at - number / 25) < 1e-6 for number, at in enumerate(pictures))
    return [
        (
            f"{seconds:g} s in 4 ranges on two workers",
            "equal frames; joined file plays, sound in step",
            f"{differ} of {len(names[0])} frames differ; {len(pictures)} frames in the file, "
            f"{'evenly spaced' if even else 'NOT evenly spaced'}, {sound:.2f} s of sound; "
            f"{parts.seconds:.0f} s, on one worker {whole.seconds:.0f} s",
        )
    ]


def _repeat(source: Path, target: Path, seconds: float) -> None:
    import soundfile

    samples, rate = soundfile.read(source)
    soundfile.write(target, np.resize(samples, int(seconds * rate)), rate)


MEASUREMENTS = {"clips": clips, "overhead": overhead, "table": table, "stubs": stubs, "split": split}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--clip-seconds", type=float, default=0.4)
    parser.add_argument("--split-seconds", type=float, default=600.0)
    options = parser.parse_args()
    known = json.loads(_record().read_text()) if _record().is_file() else {}
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="dawn-fleet-benchmark-") as folder:
            known[name] = MEASUREMENTS[name](options, Path(folder))
        for line in known[name]:
            print(" | ".join(line), flush=True)
        _record().write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
        RESULTS.write_text(_page(known), encoding="utf-8")


def _record() -> Path:
    return RESULTS.with_suffix(".json")


def _page(known: dict[str, list]) -> str:
    rows = [f"| {' | '.join(line)} |" for name in MEASUREMENTS for line in known.get(name, [])]
    return (
        f"By benchmarks/fleet.py, on {os.cpu_count()} cores that other work shared.\n\n"
        + "\n".join(["| what | goal | measured |", "| --- | --- | --- |", *rows])
        + "\n"
    )


if __name__ == "__main__":
    main()
