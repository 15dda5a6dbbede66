"""Every API workflow for the embedded model, run to a video file on 0.4 s of the example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import pytest
import soundfile
import torch
from talking_head import show

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "media"
WORKFLOWS = sorted(
    path.stem for path in (ROOT / "workflows" / "api").glob("*.json") if "authors" not in path.stem
)
WITH_TAIL = {"dawn_full_picture", "dawn_long_audio"}
"""They add 0.4 s of silence."""
WIDTHS = {
    "dawn_simple": 512,
    "dawn_say_it_yourself": 512,
    "dawn_talking_head": 512,
    "dawn_auditions": 720,
    "dawn_full_picture": 512,
    "dawn_long_audio": 512,
    "dawn_several_faces": 1024,
}


@pytest.fixture(scope="module")
def inputs(comfy):
    """What the workflows load, in ComfyUI's input folder."""
    folder = comfy.base / "input"
    for file in ("portraits/astronaut.png", "portraits/two_people.jpg", "videos/head_turns.mp4"):
        shutil.copy(EXAMPLES / file, folder)
    sound, rate = soundfile.read(EXAMPLES / "speech" / "sense_and_sensibility.wav")
    soundfile.write(folder / "sense_and_sensibility.wav", sound[rate : rate + rate * 2 // 5], rate)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_makes_its_video(comfy, inputs, name):
    prompt = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        if "keyframes" in node["inputs"]:
            node["inputs"]["keyframes"] = "0.2s yaw=10 blink=1"  # the example's are beyond the end of 0.4 s
    run = comfy.run(prompt)
    (saver,) = [node for node in prompt if prompt[node]["class_type"] == "SaveVideo"]
    (file,) = run.ui[saver]["images"]
    with av.open(str(comfy.base / "output" / file["subfolder"] / file["filename"])) as video:
        (pictures,) = video.streams.video
        assert pictures.average_rate == 25 and len(video.streams.audio) == 1
        width = WIDTHS.get(name, 256)
        assert (pictures.width, pictures.height) == (
            width,
            width if name == "dawn_auditions" else min(width, 512),
        )
        assert len(list(video.decode(pictures))) == (20 if name in WITH_TAIL else 10)


def test_the_stages_make_the_same_frames_as_the_node(comfy, inputs):
    """What the description of DAWN Talking Head promises."""
    outputs = {"dawn_simple": ("5", 1), "dawn_talking_head": ("15", 0)}
    frames = {}
    for name, (node, slot) in outputs.items():
        prompt = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        comfy.forget()
        frames[name] = comfy.run(show(prompt, node, slot)).output(node, slot)
    assert frames["dawn_simple"].shape == (10, 512, 512, 3)
    assert torch.equal(frames["dawn_simple"], frames["dawn_talking_head"])
