"""Models that run in a moment, and nodes that put any value on a wire, for tests of our nodes in ComfyUI."""

from __future__ import annotations

import dataclasses
import itertools
import wave
from pathlib import Path
from typing import Any

import make_recipe_models as recipe_models
import numpy as np
import torch
from torch import Tensor

from dawn_model.checkpoints.checkpoint import Checkpoint, save_checkpoint
from dawn_model.config import DawnConfig, DenoiserConfig, FlowAutoencoderConfig, PoseBlinkConfig
from dawn_model.model import build_networks

SPEECH_WIDTH = 64
TINY = DawnConfig(
    name="tiny-128",
    image_size=128,
    denoiser=DenoiserConfig(
        base_width=8, multipliers=(1, 2), heads=2, head_dim=8, feature_channels=16, audio_dim=SPEECH_WIDTH
    ),
    autoencoder=FlowAutoencoderConfig(width=4, bottleneck_blocks=1),
    motion=(
        PoseBlinkConfig(pose_dim=6, blink_dim=0, audio_dim=SPEECH_WIDTH, window=100),
        PoseBlinkConfig(pose_dim=0, blink_dim=2, audio_dim=SPEECH_WIDTH, window=200),
    ),
)
TINY_256 = dataclasses.replace(TINY, name="tiny-256", image_size=256)

Prompt = dict[str, dict[str, Any]]


def change(prompt: Prompt, node: str, **inputs: Any) -> Prompt:
    """The same prompt with other inputs on one node."""
    return {**prompt, node: {**prompt[node], "inputs": {**prompt[node]["inputs"], **inputs}}}


def show(prompt: Prompt, node: str, slot: int = 0) -> Prompt:
    """Only what is needed for one output of a node."""
    needed, waiting = {}, [node]
    while waiting:
        name = waiting.pop()
        needed[name] = prompt[name]
        waiting += [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    return {**needed, "show": {"class_type": "PreviewAny", "inputs": {"source": [node, slot]}}}


def tiny_checkpoint(config: DawnConfig) -> Checkpoint:
    torch.manual_seed(0)
    networks = build_networks(config)
    for tensor in networks["denoiser"].parameters():
        tensor.data += 0.02 * torch.randn(tensor.shape)  # so that no zero-initialised part is idle
    return Checkpoint(config, {name: network.state_dict() for name, network in networks.items()})


def write_tiny_models(models: Path) -> None:
    """Below ComfyUI's models folder: DAWN for 128 and 256 pixels, encoders that fit and one that does not."""
    (models / "dawn").mkdir(parents=True, exist_ok=True)
    for config in (TINY, TINY_256):
        save_checkpoint(tiny_checkpoint(config), models / "dawn" / f"{config.name}.safetensors")
    for name, width in (("tiny-hubert", SPEECH_WIDTH), ("wide-hubert", 2 * SPEECH_WIDTH)):
        recipe_models.write_hubert(
            models / "audio_encoders",
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=width // 64,
            intermediate_size=32,
            conv_dim=(32,) * 7,
        )
        written = models / "audio_encoders" / "hubert-large-ls960-ft.safetensors"
        written.rename(written.with_name(f"{name}.safetensors"))


class Given:
    """given.image(tensor) is a node that outputs just that, as a node of another plugin might."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._names = itertools.count()

    def image(self, value: Tensor | None) -> dict[str, Any]:
        return self._node("GivenImage", value)

    def audio(self, waveform: Tensor | None, rate: int = 16000) -> dict[str, Any]:
        """waveform [C, T], or [B, C, T]; None is what a file without a sound track gives."""
        if waveform is None:
            return self._node("GivenAudio", None)
        batch = waveform if waveform.ndim == 3 else waveform[None]
        return self._node("GivenAudio", {"waveform": batch, "sample_rate": rate})

    def raw_audio(self, value: Any) -> dict[str, Any]:
        """Whatever another pack puts on an AUDIO wire."""
        return self._node("GivenAudio", value)

    def list_of(self, values: list[Any]) -> dict[str, Any]:
        """What a list node gives: ComfyUI runs what follows once for each value."""
        return self._node("GivenList", values)

    def audio_encoder(self, value: Any) -> dict[str, Any]:
        return self._node("GivenAudioEncoder", value)

    def mask(self, value: Tensor) -> dict[str, Any]:
        return self._node("GivenMask", value)

    def boxes(self, value: Any) -> dict[str, Any]:
        return self._node("GivenBoxes", value)

    def landmarks(self, value: Any) -> dict[str, Any]:
        return self._node("GivenLandmarks", value)

    def _node(self, node_id: str, value: Any) -> dict[str, Any]:
        name = f"value {next(self._names)}"
        self.values[name] = value
        return {"class_type": node_id, "inputs": {"name": name}}

    def classes(self) -> dict[str, type]:
        sockets = {
            "GivenImage": "IMAGE",
            "GivenAudio": "AUDIO",
            "GivenAudioEncoder": "AUDIO_ENCODER",
            "GivenMask": "MASK",
            "GivenBoxes": "BOUNDING_BOX",
            "GivenLandmarks": "FACE_LANDMARKS",
        }
        made = {name: self._class(socket) for name, socket in sockets.items()}
        made["GivenList"] = self._class("*")
        made["GivenList"].OUTPUT_IS_LIST = (True,)
        return made

    def _class(self, socket: str) -> type:
        values = self.values

        class GivenValue:
            RETURN_TYPES = (socket,)
            FUNCTION = "give"
            CATEGORY = "tests"

            @classmethod
            def INPUT_TYPES(cls) -> dict[str, Any]:
                return {"required": {"name": ("STRING", {})}}

            def give(self, name: str) -> tuple[Any]:
                return (values[name],)

        return GivenValue


def sound(seconds: float, rate: int = 16000, channels: int = 1) -> Tensor:
    """A chirp in noise [C, T], the same every time."""
    time = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(channels, len(time), generator=torch.Generator().manual_seed(3))
    return 0.3 * torch.sin(2000 * time * (1 + time)) + 0.05 * noise


def spoken(seconds: float) -> Tensor:
    """Somebody reading, [1, T] at 16 kHz."""
    with wave.open(
        str(Path(__file__).resolve().parents[2] / "media" / "speech" / "sense_and_sensibility.wav")
    ) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        samples = np.frombuffer(file.readframes(round(16000 * seconds)), np.int16)
    return torch.from_numpy(samples / 32768.0).float()[None]


def saved_video(comfy: Any, prompt: Prompt) -> Path:
    """The file that core's Save Video writes from the graph's frames and sound."""
    video = {"images": ["frames", 0], "audio": ["frames", 1], "fps": ["frames", 2]}
    save = {"video": ["video", 0], "filename_prefix": "saved", "format": "auto", "codec": "auto"}
    run = comfy.run(
        {
            **prompt,
            "video": {"class_type": "CreateVideo", "inputs": video},
            "save": {"class_type": "SaveVideo", "inputs": save},
        }
    )
    (file,) = run.ui["save"]["images"]
    return comfy.base / "output" / file["subfolder"] / file["filename"]
