"""Stage 5b: the speech encoder learns to hear other voices the same way.

Stage 5 leaves an encoder that knows its voices by heart. Here it hears the same speech from other throats, rooms and
microphones, must read the same mouth shapes from it, and must give the features that it gave for the undisturbed
speech, on which everything behind it was trained. Nothing but the encoder changes.

    python -m training.stages.train_hearing --steps 1500
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..clips.augment import random_hearing
from ..clips.hearing import Speeches
from ..clips.scenario import CONTEXT
from ..paths import WORK
from .initial import new_networks
from .progress import Progress
from .train_motion import CHECKPOINT as MOTION

CHECKPOINT = WORK / "hearing.pt"
_SAME_FEATURES = 0.5


def train(options: argparse.Namespace) -> Progress:
    made = new_networks(options.seed)
    saved = torch.load(options.motion, map_location="cpu", weights_only=True)["average"]
    for name in ("audio_encoder", "denoiser"):
        prefix = name + "."
        made[name].load_state_dict(
            {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
        )
    speak, teacher = made["denoiser"].speak.requires_grad_(False), copy.deepcopy(made["audio_encoder"])
    networks = nn.ModuleDict({"audio_encoder": made["audio_encoder"]})
    progress = Progress(networks, options.out, 60, options.rate, options.steps)
    speeches, rng = Speeches(), np.random.default_rng([options.seed, 5, progress.step])
    while progress.unfinished:
        heard, meant = speeches.batch(rng, options.batch, options.window, augment=False)
        other = torch.stack([random_hearing(each, rng) for each in heard])
        with torch.no_grad():
            wanted = teacher(heard)[:, CONTEXT:-CONTEXT]
        features = networks["audio_encoder"](other)[:, CONTEXT:-CONTEXT]
        shapes = (speak(features) - meant).square().mean() / meant.square().mean()
        same = (features - wanted).square().mean() / wanted.var()
        progress.update(shapes + _SAME_FEATURES * same, shapes=shapes, same=same)
        progress.report(100)
        if progress.step % 500 == 0:
            progress.save()
    progress.save()
    return progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--motion", type=Path, default=MOTION)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
