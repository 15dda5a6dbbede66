"""The graph on tiny models, and what it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from talking_head import Given, Prompt, sound, write_tiny_models
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
ASTRONAUT = ROOT / "media" / "portraits" / "astronaut.png"


@pytest.fixture(scope="session")
def given(comfy) -> Given:
    given = Given()
    comfy.nodes.NODE_CLASS_MAPPINGS.update(given.classes())
    return given


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    """IMAGE [1, 512, 512, 3]."""
    return torch.from_numpy(np.array(Image.open(ASTRONAUT).convert("RGB")))[None].float() / 255


@pytest.fixture(scope="session")
def head(comfy, given, astronaut) -> Iterator[Prompt]:
    """The whole graph on models that run in a moment: 10 frames, 2 steps. Nodes have speaking ids."""
    write_tiny_models(comfy.base / "models")
    yield {
        "image": given.image(astronaut),
        "sound": given.audio(sound(0.4)),
        "model": {"class_type": "DawnLoadModel", "inputs": {"model": "tiny-128.safetensors", "dtype": "fp32"}},
        "encoder": {
            "class_type": "DawnLoadAudioEncoder",
            "inputs": {"audio_encoder": "tiny-hubert.safetensors", "dtype": "fp32"},
        },
        "portrait": {
            "class_type": "DawnPreparePortrait",
            "inputs": {"image": ["image", 0], "face_order": "size", "face_index": 0, "margin": 0.55, "threshold": 0.5},
        },
        "speech": {
            "class_type": "DawnEncodeAudio",
            "inputs": {
                "model": ["model", 0], "audio": ["sound", 0], "start": 0.0, "duration": 0.0,
                "audio_encoder": ["encoder", 0],
            },
        },
        "pose": {
            "class_type": "DawnGeneratePoseBlink",
            "inputs": {"model": ["model", 0], "portrait": ["portrait", 0], "speech": ["speech", 0], "seed": 1},
        },
        "motion": {
            "class_type": "DawnSampleMotion",
            "inputs": {
                "model": ["model", 0], "portrait": ["portrait", 0], "speech": ["speech", 0], "pose": ["pose", 0],
                "seed": 1, "steps": 2, "eta": 1.0, "guidance": 1.0, "window": 40,
            },
        },
        "frames": {
            "class_type": "DawnRenderFrames",
            "inputs": {"model": ["model", 0], "portrait": ["portrait", 0], "motion": ["motion", 0]},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["frames", 0]}},
    }  # fmt: skip
    comfy.forget()  # else ComfyUI complains when the process ends
