"""Stage 2: synthetic speech with the time of every phone → `speech.npz`.

Debian's flite and espeak-ng say sentences in many voices, rates and pitches, and every utterance is stretched
once more together with its formants, so that no two speakers are alike. Only what training needs is kept: the
log energies that `dawn_model.mel_encoder` hears, in half precision (8 kB a second), and the phones. So the
file is small enough to travel to a machine without synthesisers. Beside it `held_out.npz`: whole waveforms and
phones of sentences and of a voice that training never hears, for evaluation.

    python -m training.speech.make_speech --utterances 500
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from dawn_model.audio.mel_encoder import log_mel
from dawn_model.audio.waveform import to_speech

from ..paths import HELD_OUT_SPEECH, SPEECH, WORK
from . import espeak
from .sentences import HELD_OUT, text

VOICES = ("slt", "rms", "kal16", "kal")
HELD_OUT_VOICE = "awb"
_FLITE_SHARE = 0.4


def speak(words: str, voice: str, stretch: float = 1.0, pitch: float | None = None):
    """Say it → waveform [T] at 16 kHz and the phones, a list of (name, start, end) in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-t", words, "-psdur", "-o", str(wav)]
        command += ["--setf", f"duration_stretch={stretch}"]
        if pitch:
            command += ["--setf", f"int_f0_target_mean={pitch}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        samples, rate = soundfile.read(wav, dtype="float32", always_2d=True)
    speech = to_speech(torch.from_numpy(samples.T.copy()), rate)
    phones, start = [], 0.0
    for name, end in re.findall(r"([a-z]+):([\d.]+)", said):
        phones.append((name, start, float(end)))
        start = float(end)
    return speech, phones


def utterance(seed: int):
    """A random utterance, the same for the same seed: log energies [T, bands] at 100 Hz, and phones."""
    rng = np.random.default_rng([seed, 2])
    words = text(rng)
    if rng.random() < _FLITE_SHARE:
        voice = str(rng.choice(VOICES, p=(0.4, 0.3, 0.2, 0.1)))
        speech, phones = speak(words, voice, float(rng.uniform(0.8, 1.25)), float(rng.uniform(80, 240)))
    else:
        voice = str(rng.choice(espeak.ACCENTS)), str(rng.choice(espeak.VARIANTS))
        samples, rate, phones = espeak.speak(
            words, *voice, int(rng.integers(120, 210)), int(rng.integers(10, 90))
        )
        speech = to_speech(torch.from_numpy(samples)[None], rate)
    return other_throat(speech, phones, float(np.exp(rng.normal(0, 0.08))))


def other_throat(speech: torch.Tensor, phones, factor: float):
    """The utterance played `factor` times as fast, formants and pitch with it: log energies and phones."""
    length = int(len(speech) / factor)
    played = np.interp(np.arange(length) * factor, np.arange(len(speech)), speech.numpy()).astype(np.float32)
    times = [(name, start / factor, end / factor) for name, start, end in phones]
    return log_mel(torch.from_numpy(played)).half().numpy(), times


def held_out() -> dict[str, np.ndarray]:
    """Waveforms as 16-bit numbers and phones of the held-out sentences in the held-out voice."""
    packed: dict[str, np.ndarray] = {}
    for number, words in enumerate(HELD_OUT):
        speech, phones = speak(words, HELD_OUT_VOICE)
        packed[f"speech_{number}"] = (speech.clamp(-1, 1) * 32767).short().numpy()
        packed[f"phones_{number}"] = np.array([name for name, _, _ in phones])
        packed[f"times_{number}"] = np.array([times for _, *times in phones], np.float32)
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=2500)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(options.workers, torch.set_num_threads, (1,)) as pool:
        made = pool.map(utterance, range(options.utterances), chunksize=8)
    names = sorted({phone[0] for _, phones in made for phone in phones})
    np.savez_compressed(
        SPEECH,
        mel=np.concatenate([mel for mel, _ in made]),
        mel_lengths=np.array([len(mel) for mel, _ in made]),
        phone_names=np.array(names),
        phones=np.array([names.index(name) for _, phones in made for name, _, _ in phones], np.uint8),
        phone_times=np.array([times for _, phones in made for _, *times in phones], np.float32),
        phone_counts=np.array([len(phones) for _, phones in made]),
    )
    np.savez_compressed(HELD_OUT_SPEECH, **held_out())
    seconds = sum(len(mel) for mel, _ in made) / 100
    print(f"{SPEECH}: {len(made)} utterances, {seconds / 60:.0f} min, {SPEECH.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
