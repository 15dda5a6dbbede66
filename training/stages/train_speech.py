"""Stage 7: the readout of the speech encoder learns from phones of real speech how a mouth articulates what is heard.

Whisper's layers stay as they were published. Their hidden states are computed once for several disturbed versions of
every recording, with pauses of noise put in, and for sounds that are no speech: there the mouth rests.

    python -m training.stages.train_speech --steps 1500
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_model.audio.articulation import LIP_GAP, MOUTH_WIDTH
from dawn_model.audio.speech_encoder import SpeechEncoder

from ..paths import NATURAL_SPEECH, REAL_SPEECH, WHISPER, WORK
from ..speech.labels import FPS, articulation_of, read_phones
from ..speech.sounds import RATE, disturbed, no_speech
from .initial import new_networks
from .progress import Progress, options_of

CHECKPOINT = WORK / "speech.pt"
_MEASURED_WEIGHT = 8.0
"""Of the error of gap and width beside that of each class's share."""
_DROPOUT, _WEIGHT_DECAY = (0.6, 0.2), 0.3
"""An hour of speech is little: with less of both, or more steps, real lips are followed less well."""
_EDGE = 3
"""Frames at both ends of a stretch whose neighbours the readout does not see."""
_SHORT_WINDOW = 48


def recordings(folder: Path = REAL_SPEECH) -> dict[str, tuple[np.ndarray, list]]:
    """File name → speech [T] at 16 kHz and its phones."""
    phones = read_phones(folder / "phones.tsv")
    return {name: (soundfile.read(folder / name, dtype="float32")[0], said) for name, said in phones.items()}


def with_pauses(rng: np.random.Generator, speech: np.ndarray, phones: list) -> tuple[np.ndarray, list]:
    """Up to a second and a half of nothing before and after the speech."""
    before, after = (int(rng.uniform(0, 1.5) * FPS) / FPS for _ in range(2))
    padded = np.pad(speech, (round(before * RATE), round(after * RATE)))
    return padded, [(name, start + before, end + before) for name, start, end in phones]


@torch.no_grad()
def hidden_states(encoder: SpeechEncoder, sound: np.ndarray, frames: int) -> Tensor:
    """[frames, 2·C], in half precision to save memory."""
    speech = torch.from_numpy(sound[: frames * RATE // FPS]).float()
    return encoder.listen(encoder.spectrogram(speech)[None])[0, :frames].half()


def examples(
    encoder: SpeechEncoder, folder: Path, versions: int, rng: np.random.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Hidden states [F, 2·C] and articulation [F, 19] of every version of every recording, and of no speech."""
    spoken, made = list(recordings(folder).values()), []
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


class Standardise(nn.Module):
    """Hidden states with mean 0 and deviation 1 in every column; as published, some are a hundred times larger than
    others. `folded` takes it into the readout."""

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation + 1e-3)

    def forward(self, hidden: Tensor) -> Tensor:
        return (hidden - self.mean) / self.deviation


def folded(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a checkpoint with `Standardise` folded into the readout, where it has one."""
    if "standardise.mean" not in saved:
        return saved
    weight, bias = "audio_encoder.readout1.weight", "audio_encoder.readout1.bias"
    kept = {key: value for key, value in saved.items() if not key.startswith("standardise.")}
    scaled = kept[weight] / saved["standardise.deviation"][:, None]
    shift = (scaled * saved["standardise.mean"][:, None]).sum((1, 2))
    return kept | {weight: scaled, bias: kept[bias] - shift}


def read_with_dropout(encoder: SpeechEncoder, hidden: Tensor) -> Tensor:
    """As `SpeechEncoder.read` of standardised hidden states, but for the dropout."""
    x = F.dropout(hidden, _DROPOUT[0]).transpose(1, 2)
    x = F.dropout(F.gelu(encoder.readout1(x)), _DROPOUT[1])
    return encoder.readout3(F.gelu(encoder.readout2(x))).transpose(1, 2)


def train(options: argparse.Namespace) -> Progress:
    encoder = new_networks(options.seed)["audio_encoder"]
    encoder.whisper.load_state_dict(torch.load(WHISPER, weights_only=True))
    encoder.whisper.requires_grad_(False)
    rng = np.random.default_rng([options.seed, 4])
    data = examples(encoder, REAL_SPEECH, options.versions, rng)
    if not options.real_alone:
        data += examples(encoder, NATURAL_SPEECH, max(1, options.versions // 2), rng)
    print(f"{len(data)} stretches, {sum(len(y) for _, y in data) / FPS / 60:.0f} min", flush=True)
    deviation = torch.cat([y for _, y in data]).std(0) + 0.03
    hidden = torch.cat([x for x, _ in data[:400]]).float()
    standardise = Standardise(hidden.mean(0), hidden.std(0))
    del hidden
    weight = torch.ones(len(deviation))
    weight[[LIP_GAP, MOUTH_WIDTH]] = _MEASURED_WEIGHT
    networks = nn.ModuleDict({"audio_encoder": encoder, "standardise": standardise})
    progress = Progress(networks, options.out, options.rate, options.steps, _WEIGHT_DECAY)
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
            ((read_with_dropout(encoder, standardise(heard)) - truth) / deviation)[:, _EDGE:-_EDGE]
            .square()
            .mean((0, 1))
        )
        return (error * weight).mean(), {
            "gap": error[LIP_GAP],
            "width": error[MOUTH_WIDTH],
            "shares": error[2:].mean(),
        }

    progress.run(step)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 1500, 32, 1e-3)
    parser.add_argument(
        "--versions", type=int, default=6, help="of every recording; half as many of the synthetic ones"
    )
    parser.add_argument("--real-alone", action="store_true", help="without the synthetic voices")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
