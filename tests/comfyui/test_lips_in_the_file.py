"""How far lips move in the saved MP4, for speech as strangers record it: DAWN Talking Head as it comes, the embedded
model, the real ComfyUI, and our landmarker on the decoded pictures."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest
import torch
from talking_head import spoken, write_tiny_models
from torch import Tensor

from dawn_model.face.landmarker import FaceLandmarker

RATE = 16000
PAUSE = 1.4


def gap(points: Tensor) -> float:
    """Between the inner lips, in distances of the irises."""
    return float((points[13, :2] - points[14, :2]).norm() / (points[468, :2] - points[473, :2]).norm())


@pytest.fixture(scope="module")
def words() -> Tensor:
    """A second and a half of somebody reading, [T]."""
    return spoken(1.5)[0]


@pytest.fixture(scope="module")
def lips(comfy, given, astronaut) -> Callable[[Tensor, int], np.ndarray]:
    """Sound [channels, T] and its rate → the lips' gap in every frame of the saved file, [F]."""
    write_tiny_models(comfy.base / "models")
    landmarker = FaceLandmarker.load()

    def measure(waveform: Tensor, rate: int) -> np.ndarray:
        prompt = {
            "model": {"class_type": "DawnLoadModel", "inputs": {"model": "dawn-nano (built in)", "dtype": "fp32"}},
            "image": given.image(astronaut),
            "sound": given.audio(waveform, rate),
            "talking": {
                "class_type": "DawnTalkingHead",
                "inputs": {"model": ["model", 0], "image": ["image", 0], "audio": ["sound", 0]},
            },
            "save": {
                "class_type": "SaveVideo",
                "inputs": {
                    "video": ["talking", 0], "filename_prefix": "lips", "format": "auto", "codec": "auto",
                },
            },
        }  # fmt: skip
        (file,) = comfy.run(prompt).ui["save"]["images"]
        with av.open(str(comfy.base / "output" / file["subfolder"] / file["filename"])) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(frames) == waveform.shape[-1] * 25 // rate
        return np.array([gap(landmarker(torch.from_numpy(f).float() / 255)[0].points) for f in frames])

    return measure


@pytest.fixture(scope="module")
def usual(lips, words) -> float:
    """Deviation of the gap for the recording as it is."""
    deviation = lips(words[None], RATE).std()
    assert deviation > 0.04, "these lips hardly move"
    return deviation


def surround(speech: Tensor) -> Tensor:
    return torch.eye(6)[2][:, None] * speech


@pytest.mark.parametrize(
    "recorded",
    [
        surround,
        lambda speech: torch.stack([speech, -speech]),
        lambda speech: torch.stack([torch.zeros_like(speech), speech]),
        lambda speech: 10 ** (-35 / 20) * speech[None],
    ],
    ids=["5.1, centre alone", "opposite phase", "one channel", "35 dB quieter"],
)
def test_lips_move_as_far_however_it_was_recorded(lips, usual, words, recorded):
    assert lips(recorded(words), RATE).std() > 0.9 * usual


def test_lips_rest_in_a_noisy_pause_and_in_silence(lips, words):
    """Noise lies 15 dB under the words."""
    pause = torch.zeros(int(PAUSE * RATE))
    speech = torch.cat([words, pause, words])
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    noisy = speech + 10 ** (-15 / 20) * words.std() * noise
    gaps = lips(noisy[None], RATE)
    begin = len(words) * 25 // RATE + 1
    end = begin + round(PAUSE * 25) - 1
    talking = np.concatenate([gaps[:begin], gaps[end:]]).std()
    assert gaps[begin + 10 : end - 6].std() < 0.1 * talking, "between the last word and the next they rest"

    silent = lips(torch.zeros(1, RATE), RATE)
    __import__("sys").stderr.write(f"{np.round(gaps, 3)} {np.round(silent, 3)} {talking}")
    assert silent.std() < 0.1 * talking, "at both ends as well"
