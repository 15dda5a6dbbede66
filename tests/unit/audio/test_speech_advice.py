"""What is said of a recording that lips can not follow well, and nothing of a good one."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from dawn_model.audio.advice import speech_advice
from dawn_model.audio.articulation import ARTICULATION_DIM, CLASS_SHARES

SPEECH = Path(__file__).resolve().parents[3] / "media" / "speech" / "sense_and_sensibility.wav"


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    samples, _ = soundfile.read(SPEECH, dtype="float32")
    return torch.from_numpy(samples[::3].copy() if samples.ndim == 1 else samples[::3, 0].copy())


def heard(column: int) -> torch.Tensor:
    """Articulation of a hundred frames that all hold one class."""
    frames = torch.zeros(100, ARTICULATION_DIM)
    frames[:, CLASS_SHARES.start + column] = 1.0
    return frames


def test_a_good_recording_needs_none(speech):
    assert speech_advice(speech) == [] and speech_advice(speech, heard(3)) == []


def test_silence():
    assert "silent" in speech_advice(torch.zeros(16000))[0]


def test_a_clipped_recording(speech):
    assert "clipped" in speech_advice((speech * 30).clamp(-1, 1))[0]


@pytest.mark.parametrize(("decibels", "warned"), [(5, True), (20, False)])
def test_noise(speech, decibels, warned):
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    noisy = speech + noise * speech.std() * 10 ** (-decibels / 20)
    assert any("under the loud parts" in sentence for sentence in speech_advice(noisy)) == warned


def test_no_speech(speech):
    assert "No speech was heard" in speech_advice(speech, heard(-1))[0]
