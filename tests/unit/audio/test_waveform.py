"""Sound to 16 kHz mono, frame counts, clips and the 25 Hz grid."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from recipe import GOLDEN, normal

from dawn_model.audio.waveform import (
    SPEECH_RATE,
    align_waveform,
    frame_count,
    normalise,
    resample,
    split_clips,
    to_speech,
    to_video_rate,
)

SEGMENTS = json.loads((GOLDEN / "hubert_segments.json").read_text())


def hidden_frame_count(samples: int) -> int:
    """Hidden frames that HuBERT's convolutions make of one clip of 16 kHz samples."""
    return max(0, (samples - 400) // 320 + 1)


def tone(hertz: float, rate: int, seconds: float) -> torch.Tensor:
    return torch.sin(
        2 * math.pi * hertz * torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    ).float()


@pytest.mark.parametrize("row", SEGMENTS["rows"], ids=lambda row: str(row["samples"]))
def test_clips_match_the_reference(row):
    if row["error"]:
        with pytest.raises(ValueError, match="too short"):
            split_clips(row["samples"])
        return
    clips = split_clips(row["samples"])
    lengths = [stop - start for start, stop in clips]
    assert lengths == row["model_call_lengths"]
    assert [hidden_frame_count(length) for length in lengths] == row["frames_per_call"]
    assert sum(row["frames_per_call"]) == row["hidden_T"] == row["formula_T"]
    assert [start for start, _ in clips] == [320000 * index for index in range(len(clips))]
    # Upstream makes no video of less than one frame of sound; here that is one frame.
    assert frame_count(row["samples"], SPEECH_RATE) == max(1, row["num_frames_25fps"])


def test_no_frame_is_lost_where_upstream_loses_one():
    for frames in SEGMENTS["frame_count_rounding"]["m_below_1000"]:
        assert int((640 * frames / 16000) * 25) == frames - 1
        assert frame_count(640 * frames, SPEECH_RATE) == frames


def test_frame_count_stays_within_one_frame_of_the_duration():
    chance = random.Random(0)
    for _ in range(100):
        rate = chance.choice([8000, 11025, 16000, 22050, 44100, 48000, 96000, chance.randint(1000, 200000)])
        samples = chance.randint(1, 600 * rate)
        frames = frame_count(samples, rate)
        assert abs(Fraction(frames, 25) - Fraction(samples, rate)) <= Fraction(1, 25)
        aligned = (2 * frames * rate + 25) // 50
        assert abs(Fraction(aligned, rate) - Fraction(frames, 25)) <= Fraction(1, 2 * rate)


def test_whole_pipeline_keeps_the_duration():
    chance = random.Random(1)
    for rate in (8000, 11025, 16000, 44100, 96000, 12345):
        samples = chance.randint(rate // 50, 2 * rate)
        waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(rate))
        speech = to_speech(waveform, rate)
        frames = frame_count(samples, rate)
        hidden = sum(hidden_frame_count(stop - start) for start, stop in split_clips(speech.shape[0]))
        features = to_video_rate(torch.zeros(hidden, 3), frames)
        assert features.shape == (frames, 3)
        assert abs(features.shape[0] / 25 - samples / rate) <= 1 / 25
        assert align_waveform(waveform, rate, frames).shape == (2, (2 * frames * rate + 25) // 50)


@pytest.mark.parametrize(
    ("hidden", "frames"), [(10, 10), (124, 62), (2, 1), (499, 250), (49, 25), (50, 25), (7, 4), (99, 50)]
)
def test_video_rate_matches_the_reference(golden, hidden, frames):
    rows = to_video_rate(normal(f"input.hubert.hidden.T{hidden}", hidden, 8), frames)
    torch.testing.assert_close(
        rows, golden("hubert_post")[f"interp.T{hidden}_to_N{frames}"], atol=1e-6, rtol=0
    )


def test_chain_of_two_clips_matches_the_reference(golden):
    tensors = golden("hubert_post")
    samples = 332345
    assert [hidden_frame_count(stop - start) for start, stop in split_clips(samples)] == [1000, 38]
    rows = to_video_rate(tensors["chain.hidden"], frame_count(samples, SPEECH_RATE))
    torch.testing.assert_close(rows, tensors["chain.features_25fps"], atol=1e-6, rtol=0)


def test_single_hidden_frame_is_held():
    hidden = torch.tensor([[1.0, 2.0]])
    assert to_video_rate(hidden, 3).tolist() == [[1.0, 2.0]] * 3


def test_normalisation_matches_the_reference(golden):
    tensors = golden("hubert_post")
    torch.testing.assert_close(
        normalise(tensors["processor.wave_f32"]), tensors["processor.input_values"][0], atol=1e-5, rtol=0
    )


def test_silence_stays_silence():
    speech = to_speech(torch.zeros(2, 44100), 44100)
    assert speech.shape == (16000,)
    assert normalise(speech).eq(0).all()


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_a_tone(rate):
    speech = to_speech(tone(440, rate, 1.0)[None], rate)
    expected = tone(440, SPEECH_RATE, 1.0)
    assert abs(speech.shape[0] - 16000) <= 1
    inner = slice(800, 15200)
    torch.testing.assert_close(speech[inner], expected[inner], atol=2e-3, rtol=0)


def test_resampling_removes_what_16_khz_cannot_hold():
    assert to_speech(tone(12000, 48000, 0.5)[None], 48000)[800:-800].abs().max() < 1e-3


def test_channels_are_averaged():
    left, right = tone(300, 16000, 0.1), tone(500, 16000, 0.1)
    torch.testing.assert_close(to_speech(torch.stack([left, right]), 16000), (left + right) / 2)


def test_speech_rate_is_passed_through_untouched():
    signal = tone(300, 16000, 0.1)
    assert to_speech(signal[None], 16000).equal(signal)
    assert resample(signal, 16000, 16000) is signal


@pytest.mark.parametrize("rate", [8000, 16000, 96000])
def test_ten_milliseconds_become_one_frame(rate):
    waveform = tone(200, rate, 0.01)[None]
    speech = to_speech(waveform, rate)
    assert speech.shape == (640,) and speech[200:].abs().max() < 1e-2
    assert frame_count(waveform.shape[1], rate) == 1
    assert [hidden_frame_count(stop - start) for start, stop in split_clips(640)] == [1]
    assert align_waveform(waveform, rate, 1).shape == (1, rate // 25)


def test_unusable_audio_is_refused():
    with pytest.raises(ValueError, match="empty"):
        to_speech(torch.zeros(2, 0), 44100)
    with pytest.raises(ValueError, match="empty"):
        to_speech(torch.zeros(0, 100), 44100)
    with pytest.raises(ValueError, match="empty"):
        frame_count(0, 44100)
    with pytest.raises(ValueError, match=r"got shape \[1, 1, 8\]"):
        to_speech(torch.zeros(1, 1, 8), 44100)
    with pytest.raises(ValueError, match="0 Hz"):
        to_speech(torch.zeros(1, 8), 0)
    with pytest.raises(ValueError, match="-1 Hz"):
        frame_count(8, -1)
    broken = torch.zeros(2, 1000)
    broken[0, 10], broken[1, 20] = float("nan"), float("inf")
    with pytest.raises(ValueError, match="2 samples that are not numbers"):
        to_speech(broken, 16000)


def test_opposite_infinities_are_counted_too():
    with pytest.raises(ValueError, match="2 samples that are not numbers"):
        to_speech(torch.tensor([[math.inf, 0.0], [-math.inf, 0.0]]), 16000)


def test_aligning_cuts_or_adds_silence():
    waveform = torch.ones(1, 2, 1000)
    assert align_waveform(waveform, 8000, 3).equal(torch.ones(1, 2, 960))
    longer = align_waveform(waveform, 8000, 4)
    assert longer[..., :1000].eq(1).all() and longer[..., 1000:].eq(0).all() and longer.shape[-1] == 1280


def test_inputs_are_left_alone():
    waveform = torch.randn(2, 5000)
    copy = waveform.clone()
    normalise(to_speech(waveform, 44100))
    align_waveform(waveform, 44100, 1)
    assert waveform.equal(copy)


def test_without_librosa_the_same_numbers_come_out(monkeypatch):
    """Its numba often does not fit another pack's numpy."""
    sound = torch.randn(4410)
    expected = resample(sound, 44100, 16000)
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert torch.equal(resample(sound, 44100, 16000), expected)


def test_a_package_that_does_not_load_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert to_speech(torch.randn(1, 800), 16000).shape == (800,), "needs no resampling"
    with pytest.raises(
        ValueError, match=r"^audio: a sound at 44100 Hz .*soxr.*pip install --force-reinstall soxr"
    ):
        to_speech(torch.randn(1, 4410), 44100)


def test_heavy_packages_are_imported_only_when_needed():
    """Starting ComfyUI must wait for neither librosa nor transformers."""
    code = (
        "import sys, dawn_model.audio.waveform, dawn_model.audio.hubert; "
        "assert not {'librosa', 'soxr', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=GOLDEN.parents[1])
