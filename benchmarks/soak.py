"""Queues many jobs in a real ComfyUI server and watches its memory.

    COMFYUI_PATH=… .venv/bin/python benchmarks/soak.py                      # 20 jobs, tiny made-up models
    COMFYUI_PATH=… .venv/bin/python benchmarks/soak.py --as-is              # with the models the workflow names
    COMFYUI_PATH=… .venv/bin/python benchmarks/soak.py --as-is --models DIR --arguments --highvram

Every job has other seeds, so that everything but loading and listening runs again and writes a video; every fourth
frees ComfyUI's memory before it, as its button does, so models load again. Memory (Linux) is the server's own, read
when a job has ended. The first quarter of the jobs warms caches up; after it, the line fitted through the jobs must
rise by less than --allowed-mb in all, else the exit status is 1. Results go to benchmarks/results/soak.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "comfyui"), str(ROOT / "scripts")]

from comfy_harness import ServerComfy  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from talking_head import write_tiny_models  # noqa: E402

TINY = {"DawnLoadModel": "tiny-128.safetensors", "DawnLoadAudioEncoder": "tiny-hubert.safetensors"}
FREE_EVERY = 4


def job(workflow: Path, number: int, as_is: bool, steps: int) -> dict:
    """The workflow with this job's seeds."""
    prompt = json.loads(workflow.read_text(encoding="utf-8"))
    for node in prompt.values():
        kind, inputs = node["class_type"], node["inputs"]
        if "seed" in inputs:
            inputs["seed"] = number
        if kind == "DawnSampleMotion" and steps:
            inputs["steps"] = steps
        if kind in TINY and not as_is:
            inputs["model" if kind == "DawnLoadModel" else "audio_encoder"] = TINY[kind]
    return prompt


def resident_megabytes(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def soak(comfy: ServerComfy, options: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds and megabytes of every job."""
    measured = []
    for number in range(options.jobs):
        if number % FREE_EVERY == FREE_EVERY - 1:
            comfy.post("/free", {"unload_models": True, "free_memory": True})
        start = time.perf_counter()
        comfy.run(job(options.workflow, number, options.as_is, options.steps), timeout=3600)
        time.sleep(1)  # the server collects garbage after a job
        measured.append((time.perf_counter() - start - 1, resident_megabytes(comfy.server.process.pid)))
        print(f"job {number + 1}: {measured[-1][0]:.1f} s, {measured[-1][1]:.0f} MB", flush=True)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=0, help="of sampling; 0 keeps the workflow's")
    parser.add_argument(
        "--workflow", type=Path, default=ROOT / "workflows" / "api" / "dawn_talking_head.json"
    )
    parser.add_argument("--as-is", action="store_true", help="keep the models that the workflow names")
    parser.add_argument(
        "--models", type=Path, help="a further models folder, with dawn and audio_encoders in it"
    )
    parser.add_argument("--allowed-mb", type=float, default=30)
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=["--cpu"], help="of ComfyUI; last")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base, arguments = Path(folder), list(options.arguments)
        if options.models:
            paths = f"soak:\n  base_path: {options.models.resolve()}\n  dawn: dawn\n  audio_encoders: audio_encoders\n"
            (base / "extra.yaml").write_text(paths, encoding="utf-8")
            arguments += ["--extra-model-paths-config", str(base / "extra.yaml")]
        (base / "input").mkdir()
        for example in (ROOT / "media").glob("*/*.*"):
            shutil.copy(example, base / "input")
        if not options.as_is:
            write_tiny_models(base / "models")
        with ComfyServer(Path(os.environ["COMFYUI_PATH"]), base, [ROOT], arguments) as server:
            measured = soak(ServerComfy(server), options)
    warm = max(1, options.jobs // 4)
    memory = np.array([megabytes for _, megabytes in measured[warm:]])
    growth = (
        float(np.polyfit(np.arange(len(memory)), memory, 1)[0] * (len(memory) - 1))
        if len(memory) > 1
        else 0.0
    )
    verdict = (
        f"{options.jobs} jobs: {np.median([seconds for seconds, _ in measured]):.1f} s each (median); memory "
        f"{memory[0]:.0f} MB after {warm + 1} jobs, {memory[-1]:.0f} MB after {options.jobs}; trend {growth:+.1f} MB "
        f"over {len(memory)} jobs, allowed {options.allowed_mb:.0f}"
    )
    lines = [verdict, "", "| job | seconds | MB |", "| --- | --- | --- |"]
    lines += [f"| {n} | {seconds:.1f} | {mb:.0f} |" for n, (seconds, mb) in enumerate(measured, start=1)]
    target = Path(__file__).parent / "results" / "soak.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print(verdict)
    return int(growth > options.allowed_mb)


if __name__ == "__main__":
    sys.exit(main())
