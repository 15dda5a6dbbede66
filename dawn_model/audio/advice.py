"""What can be known of a recording before a mouth follows it: why the lips may not, and what helps."""

from __future__ import annotations

import math

from torch import Tensor

from .articulation import CLASS_SHARES, PHONES
from .silence import loudness, noise_floor

_CLIPPED, _CLIPPED_SHARE = 0.99, 1e-3
NOISY = 12.0
"""Decibels between the loud parts and the quietest tenth; who speaks without a pause has about 25."""
_SPEAKS, _SPEAKING_FRAMES = 0.4, 0.03
"""Share of phones from which a frame holds speech, and the share of such frames from which a recording does."""


def speech_advice(speech: Tensor, articulation: Tensor | None = None) -> list[str]:
    """Sentences to show, none for a good recording.

    Args:
        speech:       [T] at 16 kHz, before any gate
        articulation: [F, 19] where the model's own encoder heard it
    """
    rms, loud = loudness(speech)
    if not loud:
        return ["The sound is silent, so the mouth rests. Load a recording of speech."]
    advice = []
    if float((speech.abs() >= _CLIPPED).float().mean()) > _CLIPPED_SHARE:
        advice.append("The recording is clipped. Record it at a lower level.")
    distance = 20 * math.log10(loud / max(noise_floor(rms, loud), 1e-9))
    if distance < NOISY:
        advice.append(
            f"Noise or music lies {distance:.0f} dB under the loud parts: the lips follow less well. Remove it first."
        )
    if articulation is not None:
        phones = articulation[:, CLASS_SHARES].clamp(min=0)[:, PHONES].sum(1)
        if float((phones > _SPEAKS).float().mean()) < _SPEAKING_FRAMES:
            advice.append("No speech was heard, so the mouth rests.")
    return advice
