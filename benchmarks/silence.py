"""Does the mouth rest in pauses? Lip movement in gated stretches against that of the same noise without the gate's
silence, and against speech.

    .venv/bin/python benchmarks/silence.py
    .venv/bin/python benchmarks/silence.py --portraits A.png B.png --noise -33

Speech, then a pause that holds background noise (speech of the same person backwards, overlaid, `--noise` dB below
the speech), then speech again. Deviations of the lip gap are measured on the frames, from a third of a second after
the pause begins to a fifth before it ends, and divided by that of the speech. Results go to
benchmarks/results/silence.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dawn_model.audio.silence import SilenceGate, loudness  # noqa: E402
from dawn_model.audio.waveform import SPEECH_RATE, to_speech  # noqa: E402
from dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL  # noqa: E402
from training.evaluation import metrics  # noqa: E402
from training.evaluation.animate import Animator, held  # noqa: E402

SPEAKS, RESTS = 3.0, 3.0
"""Seconds of speech before and after the pause, and of the pause."""
SETTLES, WAKES = 0.35, 0.2


def with_noisy_pause(speech: torch.Tensor, noise_db: float) -> torch.Tensor:
    """[T] at 16 kHz: speech, a pause full of babble, speech."""
    said, rest = round(SPEAKS * SPEECH_RATE), round(RESTS * SPEECH_RATE)
    parts = speech[: said // 2 * 2].flip(0), speech[said:][:said].flip(0), speech[rest : 2 * rest].flip(0)
    babble = sum(part[: min(map(len, parts))] for part in parts)
    babble = babble.repeat(2)[:rest]
    _, loud = loudness(speech)
    babble = babble * (loud * 10 ** (noise_db / 20) / loudness(babble)[1])
    return torch.cat([speech[:said], babble, speech[said : 2 * said]])


def lip_gaps(animator: Animator, picture: Path, sound: torch.Tensor) -> np.ndarray:
    """Of the frames of a held head, [F]."""
    pixels = torch.from_numpy(np.array(Image.open(picture).convert("RGB"))).float() / 255
    square, face = animator.portrait(pixels)
    audio = animator.encode(sound)
    frames = animator.film(square, face, audio, held(face, len(audio)))
    return metrics.lip_gap(metrics.track(animator.landmarker, frames))


def main() -> None:
    portraits = sorted((ROOT / "media" / "portraits").iterdir())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL)
    parser.add_argument("--portraits", type=Path, nargs="+", default=portraits)
    speech = ROOT / "media" / "speech" / "sense_and_sensibility.wav"
    parser.add_argument("--speech", type=Path, default=speech)
    parser.add_argument("--noise", type=float, default=-33.0, help="dB relative to the speech")
    options = parser.parse_args()
    animator = Animator.load(options.model)
    samples, rate = soundfile.read(options.speech, dtype="float32", always_2d=True)
    sound = with_noisy_pause(to_speech(torch.from_numpy(samples.T.copy()), rate), options.noise)
    pause = slice(round((SPEAKS + SETTLES) * 25), round((SPEAKS + RESTS - WAKES) * 25))
    rows = []
    for picture in options.portraits:
        open_gaps = lip_gaps(animator, picture, sound)
        gated_gaps = lip_gaps(animator, picture, SilenceGate()(sound))
        speaking = np.concatenate(
            [open_gaps[: round(SPEAKS * 25)], open_gaps[round((SPEAKS + RESTS) * 25) :]]
        )
        rows.append([gated_gaps[pause].std() / speaking.std(), open_gaps[pause].std() / speaking.std()])
    names = [path.name for path in options.portraits] + ["mean"]
    table = [
        [name, *(f"{ratio:.3f}" for ratio in row)]
        for name, row in zip(names, [*rows, np.mean(rows, axis=0)], strict=True)
    ]
    head = ["portrait", "pause, gated / speech", "pause, not gated / speech"]
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *table]]
    title = f"{options.model.name}, noise at {options.noise:g} dB; deviations of the lip gap"
    text = "\n".join([title, "", *lines]) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "silence.md").write_text(text)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
