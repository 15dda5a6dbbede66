#!/usr/bin/env python3
"""Prompts with random wrong values, through a real server: what a script, another plugin or an old workflow may send.

    bash -c 'source scripts/setup_env.sh && $DAWN_PYTHON tests/wrong_prompts.py [--cases 3000] [--first 0]'

Each must end within seconds with a right result, a refusal by ComfyUI, or an error that is told in words; good jobs in
between run. Seeded, so that a case repeats. Prints what was found by kind, and ends with 1 when something was.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from comfy_harness import NodeFailed, PromptRejected, ServerComfy  # noqa: E402
from comfy_harness.results import Prompt, raise_if_failed  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402

LONGEST = 15.0
"""Seconds for a case on a busy machine; what comes before the wrong node is computed, or even all."""
GOOD_EVERY = 25
IN_WORDS = {"ValueError", "CheckpointError"}
VALUES = (
    None, True, False, -1, 0, 1, 2, 3.7, -0.5, 1e308, float("inf"), float("-inf"), float("nan"), 10**30, -(10**30),
    2**63, "", " ", "x", "0", "1.5", "-1", "nan", "9" * 5000, "é 頭 🙂", "\0", "\ud7ff", "../../etc/passwd",
    "/etc/passwd", "CON", "a" * 300, "a/b/c", "%date%", "natural", "keep", [], [1], [[]], ["x", 0], [1, 2, 3], {},
    {"a": 1}, {"__value__": [1]},
)  # fmt: skip


def good(seed: int = 1) -> Prompt:
    """Every node of ours that needs no file of one's own, on three frames."""
    prompt = json.loads((ROOT / "workflows" / "api" / "dawn_talking_head.json").read_text(encoding="utf-8"))
    for node in ("2", "10", "11", "12"):
        del prompt[node]
    prompt["1"] = {
        "class_type": "DawnExample",
        "inputs": {"portrait": "astronaut.png", "speech": "sense_and_sensibility.wav"},
    }
    prompt["6"]["inputs"] |= {
        "audio": ["1", 1], "start": 0.2, "duration": 0.12, "tail": 0.0, "silence_attack": 0.05, "silence_hold": 0.2,
        "level": False,
    }  # fmt: skip
    prompt["7"]["inputs"]["seed"] = seed
    prompt["8"]["inputs"] |= {
        "seed": seed, "steps": 1, "sampler": "ddim", "frames_per_slice": 0, "mouth": 1.0, "expression": 1.0,
    }  # fmt: skip
    prompt["9"]["inputs"] |= {"first_frame": 0, "last_frame": -1, "frames_per_slice": 0}
    prompt["15"]["inputs"]["longest_side"] = 256
    for node, kind, inputs in (
        (
            "21",
            "DawnPlotPoseBlink",
            {"width": 640, "height": 480, "moving_cursor": False, "speech": ["6", 0]},
        ),
        ("22", "DawnSavePoseBlink", {"filename_prefix": "pose/wrong", "format": "csv"}),
        ("23", "DawnBlendPoseBlink", {"pose_a": ["14", 0], "pose_b": ["7", 0]}),
    ):
        pose = {} if kind == "DawnBlendPoseBlink" else {"pose": ["14", 0]}
        prompt[node] = {"class_type": kind, "inputs": {**pose, **inputs}}
    prompt["24"] = {
        "class_type": "DawnSaveMotion",
        "inputs": {"motion": ["8", 0], "filename_prefix": "motion/wrong", "precision": "fp16"},
    }
    prompt["25"] = {
        "class_type": "DawnLoadMotion",
        "inputs": {"motion": "motion/good_00001_.motion.safetensors [output]", "model": ["3", 0]},
    }
    prompt["26"] = {
        "class_type": "DawnLoadPoseBlink",
        "inputs": {
            "file": "pose/good_00001_.csv [output]", "speech": ["6", 0], "reference": "absolute", "length": "",
            "portrait": ["5", 0],
        },
    }  # fmt: skip
    prompt["27"] = {
        "class_type": "DawnTalkingHead",
        "inputs": {
            "model": ["3", 0], "image": ["1", 0], "audio": ["6", 1], "paste_back": False, "size": 256,
            "head_motion": "natural", "blink": "keep", "rest_in_silence": True, "seed": seed,
        },
    }  # fmt: skip
    return prompt


def completed(comfy: ServerComfy, prompt: Prompt) -> Prompt:
    """With every widget that a node has, at its default where the prompt names none."""
    about = comfy.get("/object_info")
    for node in prompt.values():
        known = about[node["class_type"]]["input"]
        for name, (kind, *options) in (known.get("required", {}) | known.get("optional", {})).items():
            listed = kind if isinstance(kind, list) else (options[0] if options else {}).get("options", [])
            default = (options[0] if options else {}).get("default", listed[0] if listed else None)
            if default is not None and node["inputs"].get(name, "") == "":
                node["inputs"][name] = default
    return prompt


def only(prompt: Prompt, node: str) -> Prompt:
    """A node with all that it needs, and something that asks for what it makes."""
    needed, waiting = {}, [node]
    while waiting:
        name = waiting.pop()
        if name in needed or name not in prompt:
            continue
        needed[name] = prompt[name]
        links = [
            value for value in prompt[name]["inputs"].values() if isinstance(value, list) and len(value) == 2
        ]
        waiting += [link[0] for link in links if isinstance(link[0], str)]
    return {**needed, "show": {"class_type": "PreviewAny", "inputs": {"source": [node, 0]}}}


def spoiled(prompt: Prompt, rng: random.Random) -> tuple[Prompt, str]:
    """The prompt for one node with one to three of its inputs wrong; and what was done."""
    prompt = copy.deepcopy(prompt)
    node = rng.choice([name for name in prompt if prompt[name]["class_type"].startswith("Dawn")])
    inputs, done = prompt[node]["inputs"], []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(list(inputs))
        value, way = rng.choice(VALUES), rng.random()
        if way < 0.45:
            inputs[name] = value
        elif way < 0.8:  # over a wire nothing is checked
            wire = f"wire {name}"
            prompt[wire] = {"class_type": "HarnessValue", "inputs": {"value": json.dumps(value)}}
            inputs[name] = [wire, 0]
        elif way < 0.9:
            inputs.pop(name)
            value = "(left out)"
        else:
            other = rng.choice([entry for entry in prompt if entry != node])
            inputs[name] = value = [other, rng.choice((0, 0, 1, 2, 9, -1))]
        done.append(f"{name} {'wired ' if 0.45 <= way < 0.8 else ''}= {json.dumps(value)[:60]}")
        if not inputs:
            break
    return only(prompt, node), f"{prompt[node]['class_type']}: {', '.join(done)}"


def outcome(comfy: ServerComfy, prompt: Prompt) -> tuple[str, str]:
    """Of a job: in one word how it ended, and what the user reads."""
    begun = time.monotonic()
    try:
        status, answer = comfy.post("/prompt", {"prompt": prompt})
        if status != 200:
            errors = [
                error for node in (answer or {}).get("node_errors", {}).values() for error in node["errors"]
            ]
            raw = [
                error["extra_info"]["traceback"][-1]
                for error in errors
                if error["type"].startswith("exception")
                and "/custom_nodes/" in str(error["extra_info"].get("traceback"))
            ]
            if status >= 500 or raw:
                return "RAW", f"status {status} {raw}"
            return "refused", str(errors or answer)
        prompt_id = answer["prompt_id"]
        try:
            entry = comfy.wait(prompt_id, 4 * LONGEST)
        except TimeoutError:
            comfy.post("/interrupt", {})
            comfy.wait(prompt_id)
            return "HANGS", "until it was cancelled"
        raise_if_failed([(event, data) for event, data in entry["status"]["messages"]])
    except PromptRejected as error:
        return "refused", str(error)
    except NodeFailed as error:
        own = error.node_type.startswith("Dawn") and "/custom_nodes/" in error.traceback
        if own and error.exception_type.rpartition(".")[2] not in IN_WORDS:
            lines = [line.strip() for line in error.traceback.splitlines() if line.strip().startswith("File")]
            place = lines[-1][-90:] if lines else ""
            return "RAW", f"{error.node_type}: {error.exception_type}: {error.message[:150]} @ {place}"
        kind = "told" if own else "of core"
        return ("SLOW" if time.monotonic() - begun > LONGEST else kind), error.message
    return ("SLOW" if time.monotonic() - begun > LONGEST else "right"), ""


def attack(comfy: ServerComfy, first: int, cases: int) -> tuple[collections.Counter, list[str]]:
    """How many ended how, and what was found."""
    for kind, slot, name, entry in (
        ("DawnSaveMotion", "8", "motion", {"filename_prefix": "motion/good", "precision": "fp16"}),
        ("DawnSavePoseBlink", "14", "pose", {"filename_prefix": "pose/good", "format": "csv"}),
    ):
        comfy.run({**only(good(), slot), "save": {"class_type": kind, "inputs": {name: [slot, 0], **entry}}})
    whole, ended, found, longest = completed(comfy, good()), collections.Counter(), [], 0.0
    for seed in range(first, first + cases):
        prompt, done = spoiled(whole, random.Random(seed))
        begun = time.monotonic()
        how, said = outcome(comfy, prompt)
        seconds = time.monotonic() - begun
        longest = max(longest, seconds if how in ("told", "refused") else 0)
        ended[how] += 1
        if how.isupper():
            found.append(f"seed {seed}, {seconds:.1f} s: {how}: {done}\n    {said}")
        if (seed - first) % GOOD_EVERY == GOOD_EVERY - 1:
            comfy.run(only(good(2 + seed), "15"))
            ended["good ones between"] += 1
    ended["longest refusal, ms"] = round(1000 * longest)
    return ended, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    plugins = [ROOT, ROOT / "tests" / "comfy_harness" / "probe_plugin"]
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--cpu", "--cache-lru", "60"]  # so that what is right is not made again for every case
        with ComfyServer(Path(os.environ["COMFYUI_PATH"]), Path(folder), plugins, arguments) as server:
            ended, found = attack(ServerComfy(server), options.first, options.cases)
    print("\n".join(found))
    print(dict(ended))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
