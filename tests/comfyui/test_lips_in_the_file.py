"""What lips do in the saved MP4, for speech as strangers record it: DAWN Talking Head, the embedded model, the real
ComfyUI, and our landmarker on the decoded pictures."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest
import torch
from talking_head import spoken, write_tiny_models
from torch import Tensor

from dawn_model.face.landmarker import FaceLandmarker
from training.evaluation.metrics import lip_gap
from training.evaluation.mouths import shut_line

RATE = 16000
HUM = 0.05 + 0.01 * torch.sin(2 * torch.pi * 50 / RATE * torch.arange(2 * RATE))


def half_opposite(speech: Tensor) -> Tensor:
    """As in a film that was cut from two recordings."""
    return torch.cat([speech[: len(speech) // 2], -speech[len(speech) // 2 :]])


@pytest.fixture(scope="module")
def film(comfy, given, astronaut) -> Callable[..., tuple[Tensor, Tensor]]:
    """Sound [channels, T] at 16 kHz and other inputs of the node → frames of the file [F, S, S, 3] and the points of
    the face in them [F, 478, 3].

    The square alone is looked at: in it the mouth is as it is in the whole picture, and found in half the time.
    """
    write_tiny_models(comfy.base / "models")
    landmarker = FaceLandmarker.load()

    def made(waveform: Tensor, **inputs) -> tuple[Tensor, Tensor]:
        talking = {
            "model": ["model", 0],
            "image": ["image", 0],
            "audio": ["sound", 0],
            "paste_back": False,
            **inputs,
        }
        saved = {"video": ["talking", 0], "filename_prefix": "lips", "format": "auto", "codec": "auto"}
        run = comfy.run(
            {
                "model": {
                    "class_type": "DawnLoadModel",
                    "inputs": {"model": "dawn-nano (built in)", "dtype": "fp32"},
                },
                "image": given.image(astronaut),
                "sound": given.audio(waveform, RATE),
                "talking": {"class_type": "DawnTalkingHead", "inputs": talking},
                "save": {"class_type": "SaveVideo", "inputs": saved},
            }
        )
        (file,) = run.ui["save"]["images"]
        with av.open(str(comfy.base / "output" / file["subfolder"] / file["filename"])) as video:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
        assert len(frames) == waveform.shape[-1] * 25 // RATE
        frames = torch.from_numpy(frames).float() / 255
        return frames, torch.stack([landmarker(frame)[0].points for frame in frames])

    return made


@pytest.fixture(scope="module")
def lips(film) -> Callable[..., np.ndarray]:
    """The same → the gap between the inner lips in every frame of the file, [F], in distances of the irises."""
    return lambda waveform, **inputs: lip_gap(film(waveform, **inputs)[1])


@pytest.fixture(scope="module")
def usual(lips) -> float:
    """Deviation of the gap for a recording as most are."""
    deviation = lips(spoken(1.5)).std()
    assert deviation > 0.03, "these lips hardly move"
    return deviation


@pytest.mark.parametrize(
    "recorded",
    [
        lambda speech: torch.eye(6)[2][:, None] * speech,
        lambda speech: torch.stack([speech, -speech]),
        lambda speech: 10 ** (-35 / 20) * speech[None],
        lambda speech: torch.stack([speech, half_opposite(speech)]) + HUM[: len(speech)],
    ],
    ids=["5.1, centre alone", "opposite phase", "35 dB quieter", "half of it opposite, hum, direct current"],
)
def test_lips_move_as_far_however_it_was_recorded(lips, usual, recorded):
    """They moved 66 % as far for speech in the centre channel alone, and 15 % for channels of opposite phase."""
    assert lips(recorded(spoken(1.5)[0])).std() > 0.9 * usual


def test_a_beep_louder_than_the_speech_does_not_silence_it(lips, usual):
    """The gate's threshold lies below the loud parts, and the beep was all of them."""
    beep = 0.6 * torch.sin(2 * torch.pi * 1000 / RATE * torch.arange(RATE // 2))
    gaps = lips(torch.cat([0.5 * spoken(1.5)[0], beep])[None], rest_in_silence=True)
    assert gaps[:37].std() > 0.9 * usual


@pytest.mark.parametrize("decibels", [15, 25])
def test_lips_rest_in_a_noisy_pause(lips, decibels):
    """The mouth moved 32 % as much as in words: pauses had to be 30 dB below the speech."""
    words, pause = spoken(1.2)[0], torch.zeros(round(1.6 * RATE))
    speech = torch.cat([words, pause, words])
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    noise *= words.square().mean().sqrt() * 10 ** (-decibels / 20)
    gaps = lips((speech + noise)[None], rest_in_silence=True, head_motion="lips only")
    talking = np.concatenate([gaps[:30], gaps[70:]])
    assert gaps[42:66].std() < 0.1 * talking.std()  # the gate holds for .2 s, and a mouth takes time to shut


def test_a_smile_that_rests_is_shut_by_a_dark_smooth_line(film):
    """The portrait shows teeth. Real lips: .30 to .76 darker in between, jumps of .0005 to .0056."""
    frames, points = film(torch.zeros(1, RATE), head_motion="lips only")
    gap = lip_gap(points)
    assert (gap < 0.05).mean() > 0.8
    darker, jumps = shut_line(frames, points, gap)
    assert darker > 0.3
    assert jumps < 0.0055


def test_lips_rest_at_both_ends_of_silence(lips, usual):
    """What lies beyond the sound counted as loud: frames 2 to 10 and the last 8 moved by up to 72 % of what speech
    does. Now by 9 and 4 %, the landmarker's own noise included."""
    gaps = lips(torch.zeros(1, RATE), head_motion="lips only")
    assert max(gaps[1:10].std(), gaps[-8:].std()) < 0.12 * usual
