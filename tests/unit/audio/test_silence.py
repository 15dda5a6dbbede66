"""The silence gate and the level: what they take away, what they keep, and when."""

from __future__ import annotations

import math

import pytest
import torch

from dawn_model.audio.silence import SPEECH_LEVEL, SilenceGate, level, loudness
from dawn_model.audio.waveform import SPEECH_RATE


def seconds(*parts: tuple[float, float]) -> torch.Tensor:
    """Noise of (seconds, RMS) one after the other."""
    noise = torch.Generator().manual_seed(0)
    return torch.cat([rms * torch.randn(round(time * SPEECH_RATE), generator=noise) for time, rms in parts])


def at(signal: torch.Tensor, start: float, stop: float) -> torch.Tensor:
    return signal[round(start * SPEECH_RATE) : round(stop * SPEECH_RATE)]


PAUSE = seconds((1, 0.1), (1, 0.001), (1, 0.1))  # the pause is 40 dB below


def test_pauses_become_digital_silence_and_speech_stays():
    gated = SilenceGate(threshold=30, attack=0.05, hold=0.2)(PAUSE)
    assert at(gated, 1.27, 1.94).count_nonzero() == 0
    assert torch.equal(at(gated, 0, 1.19), at(PAUSE, 0, 1.19))
    assert torch.equal(at(gated, 2, 3), at(PAUSE, 2, 3))


def test_the_threshold_decides_what_a_pause_is():
    soft = torch.cat([PAUSE, seconds((1, 0.00015))])  # quieter still, so that the soft part is no noise
    assert torch.equal(at(SilenceGate(threshold=50)(soft), 0, 3), PAUSE)
    assert at(SilenceGate(threshold=30)(soft), 1.27, 1.94).count_nonzero() == 0
    quiet = PAUSE * 1e-2
    assert torch.equal(SilenceGate(30).open_at(quiet), SilenceGate(30).open_at(PAUSE)), (
        "relative to the loud parts"
    )


@pytest.mark.parametrize("decibels", [10, 15, 25])
def test_a_pause_is_one_in_a_noisy_recording_too(decibels):
    noise = 0.1 * 10 ** (-decibels / 20)
    noisy = seconds((1, 0.1), (1.5, noise), (1, 0.1))
    gain = SilenceGate(threshold=30, attack=0.05, hold=0.2).open_at(noisy)
    assert at(gain, 1.3, 2.4).max() == 0
    assert at(gain, 0, 1.19).min() == 1 and at(gain, 2.5, 3.5).min() == 1


def test_who_speaks_without_a_pause_is_heard_whole():
    """The quietest tenth is speech then."""
    syllables = torch.cat([seconds((0.12, 0.1), (0.06, 0.04))] * 20)
    assert torch.equal(SilenceGate(30)(syllables), syllables)


def test_attack_and_hold_are_times():
    for attack, hold in ((0.0, 0.0), (0.1, 0.3)):
        gain = SilenceGate(30, attack, hold).open_at(PAUSE)
        closed = (at(gain, 1, 2) == 0).sum() / SPEECH_RATE
        # hold and then the fade at the one end, the attack at the other; windows of 20 ms see speech 10 ms early
        assert abs(closed - (1 - hold - 2 * attack)) < 0.035


def test_fades_have_no_steps():
    gain = SilenceGate(30, attack=0.05).open_at(PAUSE)
    assert (gain[1:] - gain[:-1]).abs().max() <= 1.01 / (0.05 * SPEECH_RATE)


def test_short_pauses_are_bridged():
    words = seconds((0.5, 0.1), (0.15, 1e-4), (0.5, 0.1))
    assert torch.equal(SilenceGate(30, hold=0.2)(words), words)


@pytest.mark.parametrize("speech", [torch.zeros(8000), torch.zeros(1), torch.full((640,), 1e-6)])
def test_nothing_but_silence(speech):
    assert SilenceGate()(speech).shape == speech.shape
    assert SilenceGate()(speech).isfinite().all()
    assert torch.equal(level(speech), speech)


def test_level_makes_loud_and_quiet_recordings_alike():
    for gain in (0.01, 1, 8):
        assert math.isclose(loudness(level(gain * PAUSE))[1], SPEECH_LEVEL, rel_tol=0.02)


def test_windows_lie_where_they_say():
    click = torch.zeros(SPEECH_RATE)
    click[8000] = 1
    rms, _ = loudness(click)
    assert len(rms) == 200
    heard = rms.nonzero().squeeze(1) * 80 + 40
    assert abs(float(heard.float().mean()) - 8000) <= 40


@pytest.mark.parametrize(
    ("option", "value"), [("threshold", math.nan), ("attack", -0.1), ("hold", math.inf), ("threshold", -3.0)]
)
def test_numbers_that_make_no_gate(option, value):
    with pytest.raises(ValueError, match=rf"silence_{option}: {value:g} is no amount"):
        SilenceGate(**{option: value})
