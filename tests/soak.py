#!/usr/bin/env python3
"""Hours of use in minutes, on a real server: many jobs, cancelled at random, killed. Not part of the suite.

    bash -c 'source scripts/setup_env.sh && $DAWN_PYTHON tests/soak.py [--jobs 100] [--cancels 50] [--kills 9]'

Prints one line for each finding, and ends with 1 when memory or open files grow by more than 5 %, when a job after a
cancelled one differs from an undisturbed one, or when a killed server leaves something that a new one stumbles over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from comfy_harness import Interrupted, NodeFailed, ServerComfy  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402

GROWTH = 1.05
SECONDS = 0.4


def clip(seed: int, faulty: bool = False) -> dict:
    """The staged workflow on a little speech; its frames as PNG, which are the same for the same seed."""
    prompt = json.loads((ROOT / "workflows" / "api" / "dawn_talking_head.json").read_text(encoding="utf-8"))
    prompt["1"] = {
        "class_type": "DawnExample",
        "inputs": {"portrait": "astronaut.png", "speech": "sense_and_sensibility.wav"},
    }
    for node in ("2", "10", "12"):
        del prompt[node]
    prompt["3"]["inputs"]["dtype"] = "fp32"  # auto measures what is faster, on a machine that is busy
    prompt["6"]["inputs"] |= {"audio": ["1", 1], "start": 0.1 * (seed % 20), "duration": SECONDS}
    prompt["7"]["inputs"]["seed"] = prompt["8"]["inputs"]["seed"] = seed
    if faulty:
        prompt["14"]["inputs"]["keyframes"] = "99s yaw=1"
    prompt["11"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["15", 0], "filename_prefix": f"soak/{seed}"},
    }
    prompt["16"] = {
        "class_type": "DawnSaveMotion",
        "inputs": {"motion": ["8", 0], "filename_prefix": f"motion/{seed}", "precision": "fp16"},
    }
    return prompt


def simple(number: int) -> dict:
    """DAWN Talking Head and a video, without Paste Back."""
    prompt = json.loads((ROOT / "workflows" / "api" / "dawn_simple.json").read_text(encoding="utf-8"))
    prompt["5"]["inputs"] |= {"seed": number, "paste_back": False, "image": ["4", 0], "audio": ["7", 0]}
    example = {"portrait": "astronaut.png", "speech": "sense_and_sensibility.wav"}
    prompt["1"] = {"class_type": "DawnExample", "inputs": example}
    prompt["4"] = {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["1", 0], "upscale_method": "bilinear", "width": 256 + number, "height": 256, "crop": "center",
        },
    }  # fmt: skip
    prompt["7"] = {
        "class_type": "TrimAudioDuration",
        "inputs": {"audio": ["1", 1], "start_index": 0.1 * (number % 20), "duration": SECONDS},
    }
    del prompt["2"]
    return prompt


def head_motion(number: int) -> dict:
    """Head motion saved as a table and drawn; nothing is rendered."""
    prompt = clip(number)
    for node in ("8", "9", "11", "15", "16"):
        del prompt[node]
    prompt["14"]["inputs"]["keyframes"] = f"0 yaw={number % 30}; 5f yaw=0"
    prompt["20"] = {
        "class_type": "DawnSavePoseBlink",
        "inputs": {
            "pose": ["14", 0],
            "filename_prefix": f"pose/{number}",
            "format": ("csv", "safetensors")[number % 2],
        },
    }
    prompt["21"] = {
        "class_type": "DawnPlotPoseBlink",
        "inputs": {
            "pose": ["14", 0], "speech": ["6", 0], "portrait": ["5", 0], "width": 640, "height": 480,
            "moving_cursor": number % 3 == 0,
        },
    }  # fmt: skip
    return prompt


def again(number: int) -> dict:
    """Saved motion rendered again, in part."""
    prompt = {node: entry for node, entry in clip(number).items() if node in ("1", "3", "5", "9", "11")}
    prompt["8"] = {
        "class_type": "DawnLoadMotion",
        "inputs": {"motion": "motion/0_00001_.motion.safetensors [output]"},
    }
    prompt["9"]["inputs"]["first_frame"] = number % 5
    prompt["11"]["inputs"]["images"] = ["9", 0]
    return prompt


KINDS = (clip, simple, head_motion, again)


def frames_of(base: Path, run) -> str:
    """One number for what was saved."""
    digest = hashlib.sha256()
    for file in run.ui["11"]["images"]:
        with Image.open(base / "output" / file["subfolder"] / file["filename"]) as picture:
            digest.update(picture.tobytes())
    return digest.hexdigest()


def usage(server: ComfyServer) -> tuple[float, int]:
    """Resident megabytes and open files of the server, once it has collected its garbage."""
    time.sleep(1)
    process = psutil.Process(server.process.pid)
    return process.memory_info().rss / 2**20, process.num_fds()


def many_jobs(comfy: ServerComfy, jobs: int) -> list[str]:
    """Of all kinds, every seventh one faulty; the first quarter of them warms caches up. Of memory the median of the
    quarter behind that counts against the last quarter's: single jobs differ by their kinds."""
    seen, refused, begun = [], 0, time.monotonic()
    for number in range(jobs):
        faulty = number % 7 == 3
        try:
            comfy.run(clip(number, True) if faulty else KINDS[number % len(KINDS)](number))
            if faulty:
                return [f"job {number} was to fail and did not"]
        except NodeFailed:
            if not faulty:
                raise
            refused += 1
        seen.append(usage(comfy.server))
    quarter = max(1, jobs // 4)
    early, late = (
        [statistics.median(values) for values in zip(*part, strict=True)]
        for part in (seen[quarter : 2 * quarter] or seen, seen[-quarter:])
    )
    print(
        f"{jobs} jobs of {len(KINDS)} kinds, {refused} of them refused, in {time.monotonic() - begun:.0f} s: "
        f"{early[0]:.0f} to {late[0]:.0f} MB ({100 * (late[0] / early[0] - 1):+.1f} %), {early[1]:.0f} to "
        f"{late[1]:.0f} open files",
        flush=True,
    )
    return [
        f"{what} grew from {a:.0f} to {b:.0f}"
        for what, a, b in zip(("memory", "open files"), early, late, strict=True)
        if b > GROWTH * a
    ]


def cancelled_jobs(comfy: ServerComfy, base: Path, cancels: int, expected: str) -> list[str]:
    """Each is followed by one that nobody disturbs, from its sampling on: the cancelled one had another seed."""
    chance, cancelled = random.Random(0), 0
    for number in range(cancels):
        prompt_id = comfy.queue(
            KINDS[number % len(KINDS)](1000 + number) if number % 2 else clip(1000 + number)
        )
        time.sleep(chance.uniform(0, 2.5))
        comfy.post("/interrupt", {})
        cancelled += comfy.wait(prompt_id)["status"]["status_str"] != "success"
        try:
            found = frames_of(base, comfy.run(clip(1)))
        except Interrupted:
            return ["a job was cancelled that nobody cancelled"]
        if found != expected:
            return [f"the job after {number + 1} cancelled ones differs from an undisturbed one"]
    print(
        f"{cancels} jobs interrupted, {cancelled} of them before their end; each next one is as ever",
        flush=True,
    )
    return []


def killed_servers(comfyui: Path, base: Path, kills: int, expected: str) -> list[str]:
    chance = random.Random(1)
    for _ in range(kills):
        with ComfyServer(comfyui, base, [ROOT]) as server:
            ServerComfy(server).queue(clip(chance.randrange(2000, 3000)))
            time.sleep(chance.uniform(0.2, 4))
            server.process.kill()
            server.process.wait()
    with ComfyServer(comfyui, base, [ROOT]) as server:
        comfy = ServerComfy(server)
        motion = comfy.get("/object_info/DawnLoadMotion")["DawnLoadMotion"]["input"]["required"]["motion"]
        names = motion[1]["options"] if motion[0] == "COMBO" else motion[0]  # versions write lists either way
        for name in names:
            if name.endswith("[output]"):
                load = {
                    "1": {"class_type": "DawnLoadMotion", "inputs": {"motion": name}},
                    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}},
                }
                comfy.run(load)
        differs = frames_of(base, comfy.run(clip(1))) != expected
    print(f"{kills} servers killed; all {len(names)} motion files that are listed load", flush=True)
    return ["after the kills a job differs"] if differs else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--cancels", type=int, default=50)
    parser.add_argument("--kills", type=int, default=9)
    options = parser.parse_args()
    comfyui, faults = Path(os.environ["COMFYUI_PATH"]), []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with ComfyServer(comfyui, base, [ROOT]) as server:
            comfy = ServerComfy(server)
            expected = frames_of(base, comfy.run(clip(1)))
            comfy.run(clip(0))  # what `again` loads
            faults += many_jobs(comfy, options.jobs)
            faults += cancelled_jobs(comfy, base, options.cancels, expected)
        faults += killed_servers(comfyui, base, options.kills, expected)
    for fault in faults:
        print("FAULT:", fault, flush=True)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
