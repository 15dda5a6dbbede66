"""What the nodes that work on DAWN_POSE share: their references, and how they fit a length."""

from __future__ import annotations

from comfy_api.latest import io

from ...dawn_model.face.portrait import Portrait
from ...dawn_model.head_motion.length import LENGTH_MODES, fit_length
from ...dawn_model.structures import FPS, FaceState, HeadMotion
from .sockets import Speech
from .widgets import choice

_ANY_SIZE = 128


def rest_state(portrait: Portrait) -> FaceState:
    """How the portrait holds head and eyes. (Only the box depends on the size, and it is not used here.)"""
    _, state = portrait.at(_ANY_SIZE)
    return state


def length_input() -> io.Input:
    return choice(
        "length",
        LENGTH_MODES,
        LENGTH_MODES[0],
        "When it is shorter than the speech. hold: keep the last pose; loop: start again; mirror: run "
        "back and forth; cut: stop with an error instead. When it is longer, it ends with the speech in any case.",
    )


def fit_to_speech(motion: HeadMotion, speech: Speech, mode: str, what: str) -> tuple[HeadMotion, str]:
    """The track as long as the speech, and a sentence on what was done to it.

    Raises ValueError, beginning with `what`, when it is too short and must not be made longer.
    """
    frames, length = len(speech.features), len(motion)
    try:
        fitted = fit_length(motion, frames, mode)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if length == frames:
        return fitted, f"It is as long as the speech, {frames / FPS:.2f} s."
    done = "cut" if length > frames else {"hold": "held", "loop": "looped", "mirror": "mirrored"}[mode]
    return fitted, f"It lasts {length / FPS:.2f} s and the speech {frames / FPS:.2f} s: {done}."
