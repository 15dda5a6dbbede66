"""What microphones, rooms and the world do to speech, and sounds that are no speech at all.

All sounds are [T] at 16 kHz, float32; the same for the same generator state.
"""

from __future__ import annotations

import numpy as np

RATE = 16000


def coloured_noise(rng: np.random.Generator, samples: int, slope: float) -> np.ndarray:
    """Noise of unit deviation whose amplitude falls as frequency to the power of `slope`: 0 white, .5 pink, 1 brown."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    return _unit(np.fft.irfft(spectrum / np.maximum(frequency, 30) ** slope, samples))


def music(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Chords of plucked or held tones with a beat, of unit deviation."""
    sound, time = np.zeros(samples), np.arange(samples) / RATE
    beat, root = rng.uniform(0.25, 0.7), rng.uniform(80, 260)
    for start in np.arange(0, time[-1], beat):
        since = time - start
        envelope = (
            (since > 0)
            * np.exp(-np.clip(since, 0, None) / rng.uniform(0.1, 1.0))
            * np.clip(since / 0.01, 0, 1)
        )
        for _ in range(rng.integers(1, 4)):
            tone = root * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 12, 16, 19]) / 12)
            for overtone in range(1, rng.integers(3, 12)):
                sound += (
                    envelope * np.sin(2 * np.pi * tone * overtone * time + rng.uniform(0, 6.3)) / overtone
                )
        if rng.random() < 0.5:
            sound += (since > 0) * np.exp(-np.clip(since, 0, None) / 0.03) * rng.normal(size=samples) * 2
    return _unit(sound)


def rumble_and_clicks(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Hum of the mains, knocks and breath, of unit deviation."""
    time = np.arange(samples) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in rng.integers(1, 8, 3))
    breath = (
        coloured_noise(rng, samples, 0.3)
        * np.clip(np.sin(2 * np.pi * time / rng.uniform(2, 4)), 0, None) ** 2
    )
    knocks = np.zeros(samples)
    knocks[rng.integers(samples, size=1 + samples // RATE)] = rng.uniform(3, 20)
    knocks = np.convolve(knocks, np.exp(-np.arange(400) / 60), "same")
    return _unit(
        hum * rng.uniform(0, 1)
        + breath * rng.uniform(0, 1)
        + knocks * rng.uniform(0, 1)
        + 1e-3 * rng.normal(size=samples)
    )


def no_speech(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Any of the above, of unit deviation."""
    kind = rng.integers(4)
    if kind == 0:
        return music(rng, samples)
    if kind == 1:
        return rumble_and_clicks(rng, samples)
    return coloured_noise(rng, samples, rng.uniform(0, 1)) * (
        1 + 0.5 * np.sin(np.arange(samples) / RATE * rng.uniform(0, 9))
    )


def disturbed(rng: np.random.Generator, speech: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """The speech in a room, through a microphone and a line, with something beside it; or as it is, one time in four.

    others: other people's speech, for babble
    """
    if rng.random() < 0.25:
        return speech
    if rng.random() < 0.35:
        speech = _in_room(rng, speech)
    if rng.random() < 0.5:
        speech = _filtered(rng, speech)
    if rng.random() < 0.7:
        if rng.random() < 0.15:
            beside = sum(np.resize(others[i], len(speech)) for i in rng.integers(len(others), size=3))
        else:
            beside = no_speech(rng, len(speech))
        loud = speech[np.abs(speech) > 0.02 * np.abs(speech).max()]
        speech = speech + _unit(beside) * loud.std() * 10 ** (-rng.uniform(0, 25) / 20)
    if rng.random() < 0.1:
        speech = np.clip(speech, *np.quantile(speech, [0.005, 0.995]))
    return speech.astype(np.float32)


def _in_room(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Reverberation: an exponentially fading echo."""
    seconds = rng.uniform(0.15, 0.7)
    echo = rng.normal(size=int(seconds * RATE)) * np.exp(
        -6.9 * np.arange(int(seconds * RATE)) / (seconds * RATE)
    )
    echo *= rng.uniform(0.2, 1.0) / np.linalg.norm(echo)
    echo[0] += 1
    size = len(speech) + len(echo)
    return np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(echo, size), size)[: len(speech)]


def _filtered(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """A microphone's tilt, and now and then the band of a telephone."""
    frequency = np.fft.rfftfreq(len(speech), 1 / RATE)
    gain = (np.maximum(frequency, 50) / 1000) ** rng.normal(0, 0.4)
    if rng.random() < 0.4:
        low, high = rng.uniform(50, 350), rng.uniform(3000, 7000)
        gain = gain / (1 + (low / np.maximum(frequency, 1)) ** 8) / (1 + (frequency / high) ** 16)
    return np.fft.irfft(np.fft.rfft(speech) * gain, len(speech))


def _unit(sound: np.ndarray) -> np.ndarray:
    return (sound / (np.std(sound) + 1e-9)).astype(np.float32)
