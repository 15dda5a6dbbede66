"""Channels that cancel each other, and what is no speech in them."""

import torch

from dawn_model.audio.downmix import to_mono, without_rumble


def test_channels_that_cancel_each_other_are_turned_round():
    voice = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    turned = torch.cat([voice[:8000], -voice[8000:]])
    hum = 0.5 + torch.sin(2 * torch.pi * 50 / 16000 * torch.arange(16000))
    assert torch.equal(to_mono(torch.stack([voice, -voice]), 16000), voice)
    heard = to_mono(torch.stack([voice, turned]) + hum, 16000)
    heard, apart = (
        without_rumble(heard, 16000),
        slice(8800, None),
    )  # a sound turned round as a whole sounds the same
    first, second = (
        torch.corrcoef(torch.stack([heard[part], voice[part]]))[0, 1] for part in (slice(7200), apart)
    )
    assert first.abs() > 0.95 and second.abs() > 0.95


def test_rumble_is_taken_off_and_speech_stays():
    time = torch.arange(16000) / 16000
    for frequency, least, most in ((0, 0, 1e-5), (50, 0, 0.01), (400, 0.9, 1.4), (3000, 0.9, 1.1)):
        tone = torch.cos(2 * torch.pi * frequency * time)
        left = without_rumble(tone, 16000)[1000:-1000].square().mean().sqrt() / tone.square().mean().sqrt()
        assert least <= left <= most, frequency
