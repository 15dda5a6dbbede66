"""The embedded model's speech encoder: Whisper's spectrogram, windows without a seam, silence at the end."""

import dataclasses

import numpy as np
import torch

from dawn_model.audio import speech_encoder
from dawn_model.audio.noise_reduction import NOISE_FRAMES
from dawn_model.audio.speech_encoder import CONTEXT_FRAMES, MEL_PER_FRAME, WINDOW_FRAMES, SpeechEncoder
from dawn_model.audio.whisper import HOP, WINDOW, WhisperLayers, log_mel, mel_energy, mel_filters, sinusoids
from dawn_model.config import DAWN_NANO

SMALL = dataclasses.replace(DAWN_NANO.whisper, width=32, heads=2, layers=2, readout_width=16)


def noise(seconds, seed=0):
    return 0.1 * torch.randn(int(16000 * seconds), generator=torch.Generator().manual_seed(seed))


def test_filters_are_the_usual_ones():
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(WINDOW // 2 + 1, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney").T
    assert np.abs(mel_filters(80).T.numpy() - theirs).max() < 1e-6


def test_spectrogram_is_that_of_a_fourier_transform():
    speech = noise(1)
    energy = (
        torch.stft(speech, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)[:, :-1].abs()
        ** 2
    )
    log = (mel_filters(80).T @ energy).clamp(min=1e-10).log10()
    assert torch.allclose(log_mel(mel_energy(speech)), (torch.maximum(log, log.max() - 8) + 4) / 4, atol=1e-4)


def test_level_does_not_matter():
    """Up to a constant, and the readout's input is normalised."""
    loud, quiet = log_mel(mel_energy(noise(1))), log_mel(mel_energy(0.03 * noise(1)))
    difference = loud - quiet
    assert (difference - difference.mean()).abs().max() < 1e-3


def test_a_recording_far_too_quiet_is_raised():
    torch.manual_seed(0)
    encoder, speech = SpeechEncoder(SMALL).eval(), noise(2)
    speech[:16000] *= 1e-4  # quiet parts, which the spectrogram's end would cut off
    speech *= 0.1 / speech.abs().max()
    with torch.no_grad():
        assert torch.allclose(encoder.encode(0.0178 * speech, 50), encoder.encode(speech, 50), atol=1e-4)


def test_a_click_is_heard_at_its_time():
    speech = torch.zeros(16000)
    speech[HOP * 40] = 1.0
    assert int(log_mel(mel_energy(speech)).mean(0).argmax()) == 40


def test_positions():
    table = sinusoids(10, 8)
    assert torch.equal(table[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert torch.isclose(table[3, 0], torch.tensor(3.0).sin())


def test_layers_halve_the_rate():
    hidden = WhisperLayers(SMALL)(torch.randn(2, 80, 40))
    assert hidden.shape == (2, 20, 32)
    assert torch.allclose(hidden.mean(-1), torch.zeros(2, 20), atol=1e-5)


def test_a_window_does_not_know_how_long_the_sound_goes_on():
    torch.manual_seed(0)
    encoder, speech = SpeechEncoder(SMALL).eval(), noise(40)
    speech[0] = 1.0  # the loudest moment, which all energies are relative to, is in both
    whole = encoder.encode(speech, 1000)
    frames = WINDOW_FRAMES + CONTEXT_FRAMES + NOISE_FRAMES // MEL_PER_FRAME
    part = encoder.encode(speech[: 640 * frames], frames)
    assert torch.allclose(whole[:WINDOW_FRAMES], part[:WINDOW_FRAMES], atol=1e-4)


def test_no_seam_between_windows(monkeypatch):
    """Where two windows meet, both heard the same two seconds; with the shipped weights they say the same."""
    from dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL, load_networks, read_checkpoint

    encoder = load_networks(read_checkpoint(EMBEDDED_MODEL), dtype=torch.float32)["audio_encoder"]
    import soundfile

    from dawn_model.audio.waveform import to_speech

    sound, rate = soundfile.read("media/speech/sense_and_sensibility.wav", dtype="float32", always_2d=True)
    speech = to_speech(torch.from_numpy(sound.T.copy()), rate)
    frames = len(speech) // 640
    whole = encoder.encode(speech, frames)
    monkeypatch.setattr(speech_encoder, "WINDOW_FRAMES", 60)
    windows = encoder.encode(speech, frames)
    jump = (windows - whole).abs().max(0).values / (whole.std(0) + 0.03)
    assert jump[:2].max() < 0.5, "gap and width, in their own deviations"


def test_ends_with_silence():
    torch.manual_seed(0)
    encoder = SpeechEncoder(SMALL).eval()
    assert encoder.encode(noise(0.5), 30).shape == (30, 19)
    assert encoder.encode(torch.zeros(16000), 25).isfinite().all()
