"""The graph on a device that is no CPU, without a GPU: tests/shadow_device says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHADOW = Path(__file__).resolve().parents[1] / "shadow_device"
WAITS = {"dawn-nano (built in)": 3, "tiny-128.safetensors": 3}
"""How often the host may wait for the device in the whole graph of two steps: for each slice of frames and each stage's
result, never for an operation."""


def run_graph(*arguments: str, threads: int = 2) -> dict:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH names no ComfyUI; `bash scripts/test.sh` brings one")
    done = subprocess.run(
        [sys.executable, str(SHADOW / "run_graph.py"), *arguments, f"threads={threads}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "this PyTorch has no devices written in Python" in done.stderr:
        pytest.skip("this PyTorch has no devices written in Python")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [("1", "fp32"), ("0.05", "fp32"), ("0.5", "fp16"), ("1", "fp32", "gpu-only")],
    ids=["whole", "5 % loaded", "half loaded, half precision", "results stay on the GPU"],
)
def test_every_stage_runs_beside_the_cpu_and_makes_the_same_frames(arguments):
    found = run_graph(*arguments)
    assert "failed" not in found, found["failed"]
    for model, result in found.items():
        assert result["devices"] == ["shadow" if "gpu-only" in arguments else "cpu"] * 2
        assert result["pasted_on"] == "shadow", "two threads of a CPU take longer"
        limit = 5e-3 if arguments[1] == "fp16" else 3e-5  # rounding; 1.1e-5 on one thread
        assert max(result["apart"]) < limit, (model, result)
        if "gpu-only" not in arguments:
            assert result["synchronisations"] <= WAITS[model], (model, result)


def test_many_threads_paste_sooner_than_a_device_sends():
    """Unless the frames stay on the device."""
    for arguments, device in ((("1", "fp32"), "cpu"), (("1", "fp32", "gpu-only"), "shadow")):
        found = run_graph(*arguments, threads=8)
        assert "failed" not in found, found["failed"]
        for result in found.values():
            assert result["pasted_on"] == device and max(result["apart"]) < 1e-5


def test_a_planted_fault_is_found():
    found = run_graph("1", "fp32", "gpu-only", "planted")
    assert found.get("failed", "").startswith("paste: "), found
    assert "same device" in found["failed"]
