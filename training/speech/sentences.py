"""What the synthetic voices say: sentences from a small grammar, and held-out ones of our own."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

DICTIONARY = Path("/usr/share/dict/words")


def _choices(text: str) -> list[str]:
    return text.split("|")


SUBJECTS = _choices(
    "my mother|the old fisherman|a quiet neighbour|every good teacher|the young queen|our doctor|that boy|"
    "nobody here|the whole family|a famous painter|his brother bob|the pilot|your best friend|the baker"
)
VERBS = _choices(
    "never found|always wanted|opened|forgot|measured|brought|washed|watched|painted|bought|carried|"
    "looked for|threw away|put down|asked about|whispered about|moved|believed in|showed me|shouted at"
)
ADJECTIVES = _choices(
    "blue|heavy|beautiful|tiny|old|purple|warm|empty|shiny|broken|yellow|wooden|huge|famous|fresh|"
    "delicious|foreign|smooth|valuable|wet"
)
NOUNS = _choices(
    "window|balloon|piano|boat|map|vase|pepper|river|photograph|umbrella|cheese|book|garden|mirror|oven|"
    "feather|wheel|village|mushroom|robot|television|bottle|fork|moon"
)
PLACES = _choices(
    "above the table|before breakfast|near the harbour|with a smile|for about an hour|on the way home|"
    "in the middle of july|without a word|behind the church|every morning|under the bridge|after the show|"
    "because of the weather|at the museum|over there"
)
PHRASES = _choices(
    "what do you mean by that|oh, wow, how lovely|please wait a moment|yes, of course|why not|"
    "papa put a bag of apples by the pump|five, six, seven, eight|i would love to|how much is it|"
    "no, thank you very much|we were all away|you should have told me|maybe tomorrow|look at them move"
)

HELD_OUT = (
    "The quick brown fox jumps over the lazy dog, while seven wizards make a toxic brew.",
    "Peter Piper picked a peck of pickled peppers, and where are the peppers now?",
    "Four score and seven years ago our fathers brought forth a new nation.",
    "Mama baked a marble cake, and everybody came back for more of it.",
    "Should you measure the weather with a thermometer, or simply look outside?",
    "A robot who wants to become human learns to play chess and falls in love.",
    "The jury heard every witness, but only three of them spoke about the fire.",
    "Open the box, pull up the lever, and push the black button twice.",
)
"""Never used in training; none of them can come out of the grammar."""


def sentence(rng: np.random.Generator) -> str:
    """One or two clauses."""
    if rng.random() < 0.25:
        return str(rng.choice(PHRASES))
    noun = f"the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {noun} {rng.choice(PLACES)}"


@functools.cache
def _dictionary() -> list[str]:
    """Raises FileNotFoundError without Debian's `wamerican`."""
    words = DICTIONARY.read_text(encoding="utf-8").split()
    return [
        word
        for word in words
        if word.isascii() and word.isalpha() and word.islower() and 2 <= len(word) <= 10
    ]


def any_words(rng: np.random.Generator) -> str:
    """Words of the dictionary, which mean nothing together. A grammar of two hundred words teaches the encoder
    these words, and other words are misheard."""
    words = [str(word) for word in rng.choice(_dictionary(), rng.integers(4, 9))]
    if rng.random() < 0.3:
        words[int(rng.integers(len(words) - 1))] += ","
    return " ".join(words)


def text(rng: np.random.Generator) -> str:
    """Two or three sentences; full stops make the voices pause."""
    made = [any_words(rng) if rng.random() < 0.8 else sentence(rng) for _ in range(rng.integers(2, 4))]
    return ". ".join(made) + "."
