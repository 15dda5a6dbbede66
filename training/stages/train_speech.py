"""Stage 7: the readout of the speech encoder learns from phones of real speech how a mouth articulates what is heard.

Whisper's layers stay as they were published. Their hidden states are computed once for several disturbed versions of
every recording, with pauses of noise put in, and for sounds that are no speech: there the mouth rests.

    python -m training.stages.train_speech --steps 3000
"""

from __future__ import annotations

import argparse

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_model.audio.articulation import LIP_GAP, MOUTH_WIDTH
from dawn_model.audio.speech_encoder import SpeechEncoder
from dawn_model.audio.whisper import log_mel

from ..paths import REAL_SPEECH, WHISPER, WORK
from ..speech.labels import FPS, articulation_of, read_phones
from ..speech.sounds import RATE, disturbed, no_speech
from .initial import new_networks
from .progress import Progress, options_of

CHECKPOINT = WORK / "speech.pt"
_MEASURED_WEIGHT = 8.0
"""Of the error of gap and width beside that of each class's share."""
_DROPOUT = 0.3, 0.2
_EDGE = 3
"""Frames at both ends of a stretch whose neighbours the readout does not see."""
_SHORT_WINDOW = 48


def recordings() -> dict[str, tuple[np.ndarray, list]]:
    """File name → speech [T] at 16 kHz and its phones."""
    phones = read_phones(REAL_SPEECH / "phones.tsv")
    return {
        name: (soundfile.read(REAL_SPEECH / name, dtype="float32")[0], said) for name, said in phones.items()
    }


def with_pauses(rng: np.random.Generator, speech: np.ndarray, phones: list) -> tuple[np.ndarray, list]:
    """Up to a second and a half of nothing before and after the speech."""
    before, after = (int(rng.uniform(0, 1.5) * FPS) / FPS for _ in range(2))
    padded = np.pad(speech, (round(before * RATE), round(after * RATE)))
    return padded, [(name, start + before, end + before) for name, start, end in phones]


@torch.no_grad()
def hidden_states(encoder: SpeechEncoder, sound: np.ndarray, frames: int) -> Tensor:
    """[frames, 2·C], in half precision to save memory."""
    speech = torch.from_numpy(sound[: frames * RATE // FPS]).float()
    return encoder.listen(log_mel(speech)[None])[0, :frames].half()


def examples(encoder: SpeechEncoder, versions: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    """Hidden states [F, 2·C] and articulation [F, 19] of every version of every recording, and of no speech."""
    spoken, made = list(recordings().values()), []
    sounds = [speech for speech, _ in spoken]
    for _ in range(versions):
        for speech, phones in spoken:
            speech, phones = with_pauses(rng, speech, phones) if rng.random() < 0.5 else (speech, phones)
            frames = len(speech) * FPS // RATE
            made.append(
                (
                    hidden_states(encoder, disturbed(rng, speech, sounds), frames),
                    torch.from_numpy(articulation_of(phones, frames)),
                )
            )
        for _ in range(len(spoken) // 8):
            frames = int(rng.integers(50, 250))
            level = 0.0 if rng.random() < 0.1 else 10 ** rng.uniform(-4, 0)
            sound = level * no_speech(rng, frames * RATE // FPS)
            made.append(
                (hidden_states(encoder, sound, frames), torch.from_numpy(articulation_of([], frames)))
            )
    return [(x, y) for x, y in made if len(y) > _SHORT_WINDOW]


def read_with_dropout(encoder: SpeechEncoder, hidden: Tensor) -> Tensor:
    """As `SpeechEncoder.read`, but for the dropout."""
    x = F.dropout(hidden, _DROPOUT[0]).transpose(1, 2)
    x = F.dropout(F.gelu(encoder.readout1(x)), _DROPOUT[1])
    return encoder.readout3(F.gelu(encoder.readout2(x))).transpose(1, 2)


def train(options: argparse.Namespace) -> Progress:
    encoder = new_networks(options.seed)["audio_encoder"]
    encoder.whisper.load_state_dict(torch.load(WHISPER, weights_only=True))
    encoder.whisper.requires_grad_(False)
    data = examples(encoder, options.versions, np.random.default_rng([options.seed, 4]))
    print(f"{len(data)} stretches, {sum(len(y) for _, y in data) / FPS / 60:.0f} min", flush=True)
    deviation = torch.cat([y for _, y in data]).std(0) + 0.03
    weight = torch.ones(len(deviation))
    weight[[LIP_GAP, MOUTH_WIDTH]] = _MEASURED_WEIGHT
    progress = Progress(
        nn.ModuleDict({"audio_encoder": encoder}), options.out, options.rate, options.steps, 0.05
    )
    rng = np.random.default_rng([options.seed, 5, progress.step])
    torch.manual_seed(options.seed + progress.step)

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        chosen = [data[i] for i in rng.integers(len(data), size=options.batch)]
        starts = [int(rng.integers(len(y) - _SHORT_WINDOW)) for _, y in chosen]
        heard = torch.stack(
            [x[s : s + _SHORT_WINDOW] for (x, _), s in zip(chosen, starts, strict=True)]
        ).float()
        truth = torch.stack([y[s : s + _SHORT_WINDOW] for (_, y), s in zip(chosen, starts, strict=True)])
        error = (
            ((read_with_dropout(encoder, heard) - truth) / deviation)[:, _EDGE:-_EDGE].square().mean((0, 1))
        )
        return (error * weight).mean(), {
            "gap": error[LIP_GAP],
            "width": error[MOUTH_WIDTH],
            "shares": error[2:].mean(),
        }

    progress.run(step)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 3000, 32, 1e-3)
    parser.add_argument("--versions", type=int, default=6, help="of every recording")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
