"""Steady noise is taken off the spectrogram that the speech encoder gets; speech is not."""

from pathlib import Path

import pytest
import soundfile
import torch

from dawn_model.audio.noise_reduction import NOISE_FRAMES, without_noise
from dawn_model.audio.silence import SilenceGate
from dawn_model.audio.waveform import to_speech
from dawn_model.audio.whisper import log_mel, mel_energy

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def speech():
    sound, rate = soundfile.read(
        ROOT / "media/speech/sense_and_sensibility.wav", dtype="float32", always_2d=True
    )
    return to_speech(torch.from_numpy(sound.T.copy()), rate)


def hiss(speech, decibels, seed=0):
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(seed))
    return speech.std() * 10 ** (-decibels / 20) * noise


def loud(energy):
    """Where the clean speech is within 30 dB of its loudest, [T, bands]."""
    return energy > 1e-3 * energy.max()


def distance(energy, clean):
    """Mean distance of two spectrograms in decibels, where the clean one is silent."""
    return float(10 * (energy / clean.clamp(min=1e-8)).log10().abs()[~loud(clean)].mean())


def test_noise_is_taken_off(speech):
    clean, noisy = mel_energy(speech), mel_energy(speech + hiss(speech, 5))
    assert distance(without_noise(noisy), clean) < distance(noisy, clean) - 4


def test_speech_stays(speech):
    clean = mel_energy(speech)
    changed = 10 * (without_noise(clean) / clean.clamp(min=1e-20)).log10().abs()[loud(clean)]
    assert float(changed.mean()) < 0.1 and float(changed.max()) < 3


def test_muted_pauses_do_not_hide_the_noise(speech):
    """A gate turns pauses to digital silence, so the noise is found between the words alone."""
    noisy = speech + hiss(speech, 10)
    gated = SilenceGate()(noisy)
    assert (gated == 0).float().mean() > 0.03
    clean, heard = mel_energy(speech), mel_energy(gated)
    speaks = heard.sum(1) > 0
    plain = distance(heard[speaks], clean[speaks])
    assert distance(without_noise(heard)[speaks], clean[speaks]) < plain - 2


def test_noise_elsewhere_is_not_heard(speech):
    """A frame depends on the four seconds around it, so a loud fan at the end does not muffle the beginning."""
    before, fan = mel_energy(speech), mel_energy(speech + hiss(speech, 0))
    whole = without_noise(torch.cat([before, fan]))
    kept = len(before) - NOISE_FRAMES
    assert kept > 100
    assert torch.allclose(whole[:kept], without_noise(before)[:kept], rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 1, 2, 24, 25, 26, 400])
def test_any_length_and_silence(frames):
    energy = torch.rand(frames, 80)
    assert without_noise(energy).shape == energy.shape
    assert (without_noise(energy) <= energy).all() and (without_noise(energy) >= 0.14 * energy).all()
    assert torch.equal(without_noise(0 * energy), 0 * energy)


def test_level_does_not_matter(speech):
    energy = mel_energy(speech)
    assert torch.allclose(without_noise(0.01 * energy), 0.01 * without_noise(energy), rtol=1e-3)
    assert log_mel(without_noise(energy)).isfinite().all()
