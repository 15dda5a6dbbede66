"""DAWN Encode Audio in a real ComfyUI: lengths, silence, and what the model hears against what is heard."""

from __future__ import annotations

import math
import random

import pytest
import torch
from comfy_harness import NodeFailed
from talking_head import change, show, sound

from dawn_model.audio.silence import SilenceGate, level
from dawn_model.audio.waveform import align_waveform, to_speech, to_video_rate


def encoded(comfy, prompt, **inputs):
    run = comfy.run(show(change(prompt, "speech", **inputs), "speech", 1))
    return (run.output("speech", slot) for slot in range(3))


def test_a_hundred_lengths_and_rates(comfy, head, given):
    """The video is as long as the sound to within one frame, and the sound that comes out exactly as long as it."""
    chance = random.Random(5)
    rates = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 37123]
    for number in range(100):
        rate, seconds = chance.choice(rates), chance.uniform(0.01, 1.5)
        start = chance.choice([0.0, 0.0, chance.uniform(0, seconds / 2)])
        tail = chance.choice([0.0, chance.uniform(0, 0.5)])
        given_sound = sound(seconds, rate, chance.choice([1, 2]))
        prompt = {**head, "sound": given.audio(given_sound, rate)}
        speech, audio, frames = encoded(comfy, prompt, start=start, tail=tail)
        wanted = given_sound.shape[1] / rate - start + tail
        place = f"{number}: {seconds} s at {rate} Hz from {start} with {tail}"
        assert frames == len(speech.features), place
        assert abs(frames / 25 - wanted) <= 1 / 25 or (frames == 1 and wanted < 1 / 25), place
        rate = audio["sample_rate"]
        assert abs(audio["waveform"].shape[-1] / rate - frames / 25) <= 0.5 / rate, place


def test_a_clip_is_as_long_as_its_sound(comfy, head, given):
    for seconds, rate in ((0.33, 44100), (0.52, 22050), (0.119, 8000)):
        prompt = {**head, "sound": given.audio(sound(seconds, rate), rate)}
        run = comfy.run(change(prompt, "motion", steps=1))
        frames, audio = run.output("frames"), run.output("frames", 1)
        assert abs(len(frames) / 25 - seconds) <= 1 / 25
        assert abs(audio["waveform"].shape[-1] / rate - len(frames) / 25) <= 0.5 / rate


def test_the_tail_is_silence_in_both(comfy, head):
    plain, audio, frames = encoded(comfy, head)
    longer, with_tail, more = encoded(comfy, head, tail=0.2)
    assert (frames, more) == (10, 15) and len(longer.features) == 15
    assert torch.equal(with_tail["waveform"][..., :6400], audio["waveform"])
    assert with_tail["waveform"].shape[-1] == 9600
    assert with_tail["waveform"][..., 6400:].count_nonzero() == 0
    del plain


def paused(comfy) -> torch.Tensor:
    """Speech, a noisy pause, speech."""
    waveform = sound(2.0)
    waveform[:, 10000:24000] *= 0.005
    return waveform


def test_the_gate_reaches_the_model_and_not_the_ear(comfy, head, given):
    waveform = paused(comfy)
    prompt = {**head, "sound": given.audio(waveform)}
    plain, heard, _ = encoded(comfy, prompt)
    gated, audio, _ = encoded(comfy, prompt, silence_threshold=30.0, silence_hold=0.1)
    assert torch.equal(audio["waveform"], heard["waveform"]), "the sound stays as it was"

    encoder = comfy.run(show(prompt, "encoder")).output("encoder")
    speech = SilenceGate(30, 0.05, 0.1)(to_speech(waveform, 16000))
    assert speech[13000:22000].count_nonzero() == 0
    expected = to_video_rate(encoder.hidden_states(align_waveform(speech, 16000, 50)), 50)
    assert torch.allclose(gated.features.features, expected, atol=1e-5)
    assert (gated.features.features - plain.features.features)[22:33].abs().max() > 1e-2


def test_level_reaches_the_model_and_not_the_ear(comfy, head, given):
    quiet = given.audio(sound(0.4) * 1e-3)
    _, heard, _ = encoded(comfy, {**head, "sound": quiet})
    levelled, audio, _ = encoded(comfy, {**head, "sound": quiet}, level=True)
    assert torch.equal(audio["waveform"], heard["waveform"])
    encoder = comfy.run(show(head, "encoder")).output("encoder")
    expected = to_video_rate(encoder.hidden_states(level(to_speech(sound(0.4) * 1e-3, 16000))), 10)
    assert torch.allclose(levelled.features.features, expected, atol=1e-5)


def test_more_than_there_is_is_said(comfy, head, caplog):
    _, audio, frames = encoded(comfy, head, duration=5.0)
    assert frames == 10 and audio["waveform"].shape[-1] == 6400
    assert "5 s of audio were asked for, from 0 s on there are 0.40 s" in caplog.text


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"start": 3.0}, r"start: 3 s is beyond the end of the audio, which lasts 0\.40 s"),
        ({"start": math.nan}, r"start: no number arrived\. Choose 0 to"),
        ({"duration": math.nan}, r"duration: no number arrived\. Choose 0 to"),
        ({"duration": 1e-6}, r"duration: 1e-06 s is less than one sample of the audio"),
        ({"tail": math.nan}, r"tail: no number arrived\. Choose 0 to"),
        ({"silence_threshold": math.nan}, r"silence_threshold: no number arrived\. Choose 0 to"),
        ({"silence_attack": math.nan}, r"silence_attack: no number arrived\. Choose 0 to"),
    ],
)
def test_times_that_are_none(comfy, head, inputs, message):
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(change(head, "speech", **inputs))
    assert failure.value.node == "speech"
    assert comfy.run(show(head, "speech", 2)).output("speech", 2) == 10
