"""The small speech encoder hears at the right time, at any level, and nothing in silence."""

import torch

from dawn_model.audio.mel_encoder import MelEncoder, log_mel, loudness, normalise
from dawn_model.config import MelConfig


def test_a_click_is_heard_in_its_column():
    speech = torch.zeros(16000)
    speech[160 * 40 + 80] = 1.0
    assert int(log_mel(speech).mean(1).argmax()) == 40


def test_columns_cover_the_sound():
    assert log_mel(torch.zeros(16000)).shape == (100, 40)
    assert log_mel(torch.zeros(16001)).shape == (101, 40)


def test_level_does_not_matter_and_silence_stays_low():
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    loud, quiet = log_mel(noise), log_mel(noise * 0.2)
    assert torch.allclose(normalise(loud, loudness(loud)), normalise(quiet, loudness(quiet)), atol=0.05)
    silent = log_mel(torch.zeros(16000))
    assert normalise(silent, loudness(silent)).max() < -1


def test_features_per_frame_and_reach():
    torch.manual_seed(0)
    encoder = MelEncoder(MelConfig(width=16, features=8)).eval()
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        features = encoder.encode(noise, 25)
        assert features.shape == (25, 8)
        assert encoder.encode(noise, 40).shape == (40, 8)
        changed = noise.clone()
        changed[640 * 12 : 640 * 13] *= 3  # frame 12; the level of the clip hardly changes
        difference = (encoder.encode(changed, 25) - features).abs().sum(1)
    assert int(difference.argmax()) in (11, 12, 13)
