"""Motion saved and loaded, and part of a clip rendered, in a real ComfyUI."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from comfy_harness import NodeFailed, PromptRejected
from safetensors import safe_open
from talking_head import change, show

PREFIXES = itertools.count()  # because an output node that has run before does not run again


@pytest.fixture
def saved(comfy, head):
    """saved(**inputs) runs DAWN Save Motion and returns the loader's name for the file."""
    written = []

    def save(filename_prefix: str = f"motion/{next(PREFIXES)}", precision: str = "fp32") -> str:
        inputs = {"motion": ["motion", 0], "filename_prefix": filename_prefix, "precision": precision}
        sampling = {name: node for name, node in head.items() if name not in ("frames", "show")}
        run = comfy.run({**sampling, "save": {"class_type": "DawnSaveMotion", "inputs": inputs}})
        name = run.output("save")
        written.append(comfy.base / "output" / name.removesuffix(" [output]"))
        assert name.removesuffix(" [output]") in run.ui["save"]["text"][0]
        return name

    yield save
    for path in written:
        path.unlink()


def loading(head, name: str, **inputs):
    """Renders a saved motion; nothing of it is sampled."""
    return {
        **{node: head[node] for node in ("image", "model", "portrait")},
        "loaded": {"class_type": "DawnLoadMotion", "inputs": {"motion": name, **inputs}},
        "frames": change(head, "frames", motion=["loaded", 0])["frames"],
        "show": head["show"],
    }


def test_a_saved_motion_gives_the_same_frames_without_sampling(comfy, head, saved):
    expected = comfy.run(head)
    name = saved("motion/dawn")
    assert name == "motion/dawn_00001_.motion.safetensors [output]"
    run = comfy.run(loading(head, name, model=["model", 0]))
    assert torch.equal(run.output("frames"), expected.output("frames"))
    assert torch.equal(run.output("frames", 1)["waveform"], expected.output("frames", 1)["waveform"])
    assert run.output("loaded", 2) == 10
    assert not {"motion", "speech", "pose"} & set(run.executed)


def test_files_are_counted_and_offered(comfy, head, saved):
    names = [saved("motion/count"), saved("motion/count", precision="fp16"), saved("clip %year%")]
    assert [name[:18] for name in names[:2]] == ["motion/count_00001", "motion/count_00002"]
    assert "%" not in names[2]
    (socket,) = [
        socket
        for socket in comfy.node_class("DawnLoadMotion").define_schema().inputs
        if socket.id == "motion"
    ]
    assert set(names) <= set(socket.options)


def test_the_workflow_is_in_the_file(comfy, head, saved):
    with safe_open(comfy.base / "output" / saved().removesuffix(" [output]"), "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["prompt"])["motion"]["class_type"] == "DawnSampleMotion"
    assert (metadata["model"], metadata["frames"], metadata["fps"]) == ("tiny-128", "10", "25")


def test_a_replaced_file_is_loaded_again(comfy, head, saved):
    name = saved()
    comfy.run(loading(head, name))
    path = comfy.base / "output" / name.removesuffix(" [output]")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert "loaded" in comfy.run(loading(head, name)).executed


def test_a_motion_of_another_model(comfy, head, saved):
    name = saved()
    prompt = loading(head, name, model=["other", 0])
    prompt["other"] = change(head, "model", model="tiny-256.safetensors")["model"]
    message = r"motion: it was sampled by tiny-128 at 32×32, and tiny-256 \(64×64\) can not render it"
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(prompt)
    assert failure.value.node == "loaded"
    prompt = loading(head, name)
    prompt["model"] = change(head, "model", model="tiny-256.safetensors")["model"]
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(prompt)
    assert failure.value.node == "frames"


def test_a_broken_file(comfy, head, saved):
    name = saved()
    path = comfy.base / "output" / name.removesuffix(" [output]")
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(NodeFailed, match=r"_00001_\.motion\.safetensors can not be read: it is damaged"):
        comfy.run(loading(head, name))


@pytest.mark.parametrize(
    "name", ["gone.motion.safetensors", "../models/dawn/tiny-128.safetensors", "/etc/passwd"]
)
def test_files_that_are_not_in_comfyuis_folders(comfy, head, name):
    with pytest.raises(PromptRejected, match=r"is neither in the input nor in the output folder"):
        comfy.run(loading(head, name))


def test_a_prefix_outside_the_output_folder(head, saved):
    with pytest.raises(NodeFailed, match=r"filename_prefix: .* is no place in the output folder"):
        saved(filename_prefix="../../elsewhere")


# --- part of a clip ---


def test_part_of_a_clip_is_that_part_of_the_whole(comfy, head):
    whole = comfy.run(head)
    images, audio = whole.output("frames").clone(), whole.output("frames", 1)["waveform"].clone()
    run = comfy.run(change(head, "frames", first_frame=3, last_frame=6))
    assert set(run.executed) == {"frames", "show"}, "rendering a part samples nothing"
    assert torch.allclose(run.output("frames"), images[3:7], atol=1e-6)
    assert torch.equal(run.output("frames", 1)["waveform"], audio[..., 3 * 640 : 7 * 640])
    last = comfy.run(change(head, "frames", first_frame=9))
    assert torch.allclose(last.output("frames"), images[9:], atol=1e-6)
    assert last.output("frames", 1)["waveform"].shape[-1] == 640


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"first_frame": 10}, r"first_frame: 10 was asked for, but the motion has 10 frames, 0 to 9"),
        ({"last_frame": 10}, r"last_frame: 10 was asked for, but the motion has 10 frames"),
        ({"first_frame": 5, "last_frame": 4}, r"last_frame: 4 lies before first_frame, 5"),
    ],
)
def test_frames_that_are_not_there(comfy, head, inputs, message):
    with pytest.raises(NodeFailed, match=message):
        comfy.run(change(head, "frames", **inputs))
    assert len(comfy.run(show(head, "frames")).output("frames")) == 10
