"""The API workflows of the control nodes, run to a video file with small models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FRAMES = {"dawn_simple": 10, "dawn_full_picture": 20, "dawn_several_faces": 10, "dawn_long_audio": 20}
"""Of 0.4 s of sound; some add 0.4 s of silence."""


@pytest.fixture(scope="module")
def inputs(comfy, head, astronaut):
    """What the workflows load, in ComfyUI's input folder; `head` brings the models."""
    folder = comfy.base / "input"
    shutil.copy(EXAMPLES / "portraits" / "astronaut.png", folder)
    pair = torch.full((512, 1024, 3), 0.6)
    pair[:, :512], pair[:, 512:] = astronaut[0], astronaut[0].flip(1)
    Image.fromarray((pair * 255).byte().numpy()).save(folder / "two_people.png")
    import soundfile

    sound, rate = soundfile.read(EXAMPLES / "speech" / "sense_and_sensibility.wav")
    soundfile.write(folder / "sense_and_sensibility.wav", sound[rate : rate + rate * 2 // 5], rate)


@pytest.mark.parametrize("name", FRAMES)
def test_a_workflow_makes_its_video(comfy, inputs, name):
    prompt = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        small = {"model": "tiny-128.safetensors", "audio_encoder": "tiny-hubert.safetensors", "steps": 2}
        node["inputs"] |= {
            key: value
            for key, value in small.items()
            if key in node["inputs"] and not isinstance(node["inputs"][key], list)
        }
    run = comfy.run(prompt)
    (saver,) = [node for node in prompt if prompt[node]["class_type"] == "SaveVideo"]
    (file,) = run.ui[saver]["images"]
    with av.open(str(comfy.base / "output" / file["subfolder"] / file["filename"])) as video:
        (pictures,) = video.streams.video
        assert pictures.average_rate == 25 and len(video.streams.audio) == 1
        width = 1024 if name == "dawn_several_faces" else 512
        assert (pictures.width, pictures.height) == (width, 512)
        assert len(list(video.decode(pictures))) == FRAMES[name]
