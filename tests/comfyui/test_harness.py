"""Both harnesses run prompts in a real ComfyUI and report what failed: the other tests rely on them."""

from __future__ import annotations

import pytest
import torch
from comfy_harness import Interrupted, NodeFailed, PromptRejected

EMPTY_THEN_SCALE = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 0xFF0000},
    },
    "2": {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["1", 0],
            "upscale_method": "bilinear",
            "width": 32,
            "height": 16,
            "crop": "disabled",
        },
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "harness"}},
}


def probe(steps: int, fail: bool = False) -> dict:
    return {"1": {"class_type": "HarnessProbe", "inputs": {"steps": steps, "seconds": 0.0, "fail": fail}}}


def with_(prompt: dict, node: str, **inputs) -> dict:
    return {**prompt, node: {**prompt[node], "inputs": {**prompt[node]["inputs"], **inputs}}}


def test_in_process_run_gives_tensors_and_files(comfy):
    comfy.forget()
    run = comfy.run(EMPTY_THEN_SCALE)
    assert run.executed == ["1", "2", "3"]
    assert run.cached == []
    image = run.output("2")
    assert image.shape == (2, 16, 32, 3)
    assert torch.equal(image[..., 0], torch.ones(2, 16, 32))
    assert len(run.ui["3"]["images"]) == 2
    assert all((comfy.base / "output" / file["filename"]).is_file() for file in run.ui["3"]["images"])


def test_second_in_process_run_only_runs_what_changed(comfy):
    comfy.run(EMPTY_THEN_SCALE)
    assert comfy.run(EMPTY_THEN_SCALE).executed == []
    changed = comfy.run(with_(EMPTY_THEN_SCALE, "2", width=20))
    assert changed.executed == ["2", "3"]
    assert changed.cached == ["1"]


def test_in_process_rejection_names_node_and_input(comfy):
    with pytest.raises(PromptRejected, match=r"node 2 \(ImageScale\).*\n?.*upscale_method"):
        comfy.run(with_(EMPTY_THEN_SCALE, "2", upscale_method="magic"))


def test_in_process_progress_failure_and_cancel(comfy):
    run = comfy.run(probe(5))
    assert run.output("1") == 5
    assert run.progress[-1] == ("1", 5, 5)

    with pytest.raises(NodeFailed, match=r"node 1 \(HarnessProbe\): ValueError: told to fail after 2 steps"):
        comfy.run(probe(2, fail=True))

    seen = []
    with pytest.raises(Interrupted):
        comfy.run(probe(50), on_progress=lambda step: (seen.append(step), comfy.interrupt()))
    assert len(seen) == 1
    assert comfy.run(probe(4)).output("1") == 4  # the next job runs


def test_plugin_that_does_not_load_is_an_error(comfy, tmp_path):
    (tmp_path / "__init__.py").write_text("import a_module_that_is_not_there")
    with pytest.raises(ImportError, match="a_module_that_is_not_there"):
        comfy.load_plugin(tmp_path)


def test_entrypoint_that_fails_raises_its_own_error(comfy, tmp_path):
    (tmp_path / "__init__.py").write_text("def comfy_entrypoint():\n    raise KeyError('in the entrypoint')")
    with pytest.raises(KeyError, match="in the entrypoint"):
        comfy.load_plugin(tmp_path)


def test_server_run_gives_files_and_uses_its_cache(comfy_server):
    run = comfy_server.run(EMPTY_THEN_SCALE)
    assert all((comfy_server.base / "output" / file["filename"]).is_file() for file in run.ui["3"]["images"])
    assert comfy_server.run(EMPTY_THEN_SCALE).executed == []


def test_server_can_be_cancelled_and_runs_the_next_job(comfy_server):
    slow = with_(probe(1000), "1", seconds=0.05)
    job = comfy_server.queue(slow)
    while not comfy_server.get("/queue")["queue_running"]:
        pass
    comfy_server.post("/interrupt", {"prompt_id": job})
    messages = dict(comfy_server.wait(job, timeout=10)["status"]["messages"])
    assert messages["execution_interrupted"]["node_id"] == "1"
    assert comfy_server.run(probe(3)).ui["1"]["text"]


def test_server_rejects_and_fails_by_name(comfy_server):
    with pytest.raises(PromptRejected, match="upscale_method"):
        comfy_server.run(with_(EMPTY_THEN_SCALE, "2", upscale_method="magic"))
    (comfy_server.base / "input" / "broken.png").write_bytes(b"not a picture")
    broken = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "broken.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    with pytest.raises(NodeFailed, match=r"node 1 \(LoadImage\)"):
        comfy_server.run(broken)
