"""Memory that runs out and a disk that is full, in every stage, in a real ComfyUI: equal frames or a clear error, and
the next job runs. What takes long is in tests/soak.py, and every second allocation of every stage in

DAWN_MEMORY_PLACES=100000 python -m pytest tests/comfyui/test_faults_survived.py
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from comfy_harness import NodeFailed
from short_of_memory import ShortOfMemory
from talking_head import show

STAGES = ("model", "encoder", "portrait", "speech", "pose", "motion", "frames", "paste")
RETRYING = {"motion", "frames"}
"""Go on with smaller slices where slices are what ran out."""
PLACES = int(os.environ.get("DAWN_MEMORY_PLACES", 4))
"""How many allocations of a stage fail, one in each run; every second one at most."""
ROUNDING = 2e-4


@pytest.fixture(scope="module")
def whole(head):
    """The graph with Paste Back and both savers."""
    return {
        **head,
        "paste": {
            "class_type": "DawnPasteBack",
            "inputs": {
                "portrait": ["portrait", 0], "images": ["frames", 0], "motion": ["motion", 0], "region": "square",
                "feather": 0.15, "colour_match": 1.0, "detail": 1.0, "result": "picture", "longest_side": 256,
            },
        },
        "keep": {
            "class_type": "DawnSaveMotion",
            "inputs": {"motion": ["motion", 0], "filename_prefix": "full/motion", "precision": "fp32"},
        },
    }  # fmt: skip


def value(run, stage: str) -> torch.Tensor | None:
    """What a stage makes, as numbers; None for the loaders."""
    if stage in ("model", "encoder"):
        return None
    made = run.output(stage)
    parts = {
        "portrait": lambda: made.points,
        "speech": lambda: made.features.features,
        "pose": lambda: made.pose,
        "motion": lambda: made.latents.flow,
    }
    return parts.get(stage, lambda: made)().clone()


@pytest.mark.parametrize("stage", STAGES)
def test_memory_runs_out_in_every_stage(comfy, whole, stage):
    comfy.forget()
    prompt = show(whole, stage)
    before = {name: node for name, node in prompt.items() if name not in (stage, "show")}
    inputs = [link[0] for link in prompt[stage]["inputs"].values() if isinstance(link, list)]
    before |= {
        f"show {name}": {"class_type": "PreviewAny", "inputs": {"source": [name, 0]}} for name in inputs
    }
    before |= {"nothing": {"class_type": "PreviewAny", "inputs": {"source": "nothing"}}}

    def run(memory: ShortOfMemory):
        comfy.run(before)  # ComfyUI forgets what this prompt has no use for: the stage
        with memory:
            return comfy.run(prompt)

    counted = ShortOfMemory()
    expected = value(run(counted), stage)
    places = range(0, counted.seen, max(2, counted.seen // PLACES))
    went_on = 0
    for memory in [
        *(ShortOfMemory(at) for at in places),
        *(ShortOfMemory(at, every=2) for at in places[:1]),
    ]:
        try:
            found = value(run(memory), stage)
        except NodeFailed as error:
            assert error.node == stage and memory.raised
            assert "out of memory" in error.message or "memory ran out" in error.message, error
            assert "it is damaged, incomplete" not in error.message, error
            continue
        went_on += 1
        assert memory.raised and (found is None or (found - expected).abs().max() < ROUNDING)
    sys.stdout.write(f"{stage}: {len(places)} of {counted.seen} allocations failed, {went_on} runs went on\n")
    assert went_on if stage in RETRYING else counted.seen or stage == "encoder", counted.seen
    again = value(run(ShortOfMemory()), stage)
    assert expected is None or torch.equal(again, expected), "the next job differs"


@pytest.fixture
def full_disk():
    """No file may grow beyond 16 KB."""
    resource = pytest.importorskip("resource", reason="this system has no limits of a process")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_full(comfy, whole, full_disk):
    import folder_paths

    prompt = {name: node for name, node in show(whole, "motion").items() if name != "show"} | {
        "keep": whole["keep"]
    }
    message = r"motion_00001_\.motion\.safetensors can not be written \(.*Free space in "
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(prompt)
    folder = Path(folder_paths.get_output_directory()) / "full"
    assert failure.value.node == "keep" and list(folder.iterdir()) == []
    full_disk()  # there is space again
    assert "keep" in comfy.run(prompt).executed
    assert [path.name for path in folder.iterdir()] == ["motion_00001_.motion.safetensors"]
