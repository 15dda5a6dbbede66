"""Speech of Debian's espeak-ng with the time of every phone, in the names of `visemes.py`.

flite has four voices; espeak-ng has dozens of variants of a formant synthesiser. Together they keep the
speech encoder from learning one voice. Loaded with ctypes: the command line tells no times.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

# fmt: off
VARIANTS = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2", "klatt3",
    "klatt4", "belinda", "linda", "steph", "steph2", "anika", "max", "john",
    "michael", "quincy", "paul", "edward", "david", "rob", "grandma", "grandpa",
)
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc")

_PHONES = {
    "p": "p", "b": "b", "m": "m", "f": "f", "v": "v", "T": "th", "D": "dh", "t": "t", "d": "d", "n": "n", "l": "l",
    "s": "s", "z": "z", "S": "sh", "Z": "zh", "tS": "ch", "dZ": "jh", "k": "k", "g": "g", "N": "ng", "h": "hh",
    "j": "y", "r": "r", "w": "w", "a": "ae", "A": "aa", "V": "ah", "0": "aa", "O": "ao", "o": "ow", "U": "uh",
    "u": "uw", "i": "iy", "I": "ih", "e": "eh", "E": "eh", "3": "er", "@": "ax", "aI": "ay", "aU": "aw", "eI": "ey",
    "oU": "ow", "OI": "oy", "_": "pau", "?": "pau", "x": "k", "R": "r", "L": "l", "C": "sh",
}
# fmt: on
"""Beginnings of espeak-ng's phoneme names; the longest that fits counts."""

_EVENT_END, _EVENT_PHONEME = 0, 7
_RETRIEVE, _PHONEME_EVENTS, _NO_EXIT = 1, 1, 0x8000
_RATE, _PITCH, _UTF8 = 1, 3, 1
_LATE = 0.02
"""Seconds by which its events come after the sound, measured against flite's by where the loudness of speech fits
the opening of the jaw best. An encoder that learns from both would be late on every voice."""


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    library = ctypes.CDLL("libespeak-ng.so.1")
    return library, library.espeak_Initialize(_RETRIEVE, 0, None, _PHONEME_EVENTS | _NO_EXIT)


def phone_of(name: str) -> str:
    """espeak-ng's phoneme name → ours; an unknown one counts as a neutral vowel."""
    return next((_PHONES[name[:n]] for n in (2, 1) if name[:n] in _PHONES), "ax")


def speak(words: str, accent: str, variant: str, words_per_minute: int, pitch: int):
    """Say it → samples [T] float32, their rate, and the phones, a list of (name, start, end) in seconds.

    pitch: 0 to 99. Not for several threads at once. Raises ValueError for an unknown voice.
    """
    library, rate = _library()
    parts, marks = [], []

    @_Callback
    def on_sound(samples, count, events):
        if count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32768)
        number = 0
        while events[number].type != _EVENT_END:
            if events[number].type == _EVENT_PHONEME:
                name = events[number].id.string.decode("utf-8", "replace")
                marks.append((phone_of(name), events[number].sample / rate))
            number += 1
        return 0

    voice = f"{accent}+{variant}"
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice}")
    library.espeak_SetSynthCallback(on_sound)
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    text = words.encode()
    library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.concatenate(parts)
    ends = [start for _, start in marks[1:]] + [len(samples) / rate]
    phones = [
        (name, start - _LATE, end - _LATE)
        for (name, start), end in zip(marks, ends, strict=True)
        if end > start
    ]
    return samples, rate, phones
