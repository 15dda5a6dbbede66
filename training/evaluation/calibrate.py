"""Between stages 8 and 9: how far must lids be sent to close? Prints what each gain gives on rendered people.

    python -m training.evaluation.calibrate

The people are neither those of training nor those of the evaluation. Photographs close less far than they do (at 2.2 a
mean of .42, but .50 to .61), so put the gain that brings the mean to about .3 of the open eye into
`CompactConfig.blink_gain` and export again.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from ..paths import MODEL
from ..people.head import HeadMesh
from . import metrics
from .animate import Animator, held
from .evaluate import SHUT_LIDS, rendered_portrait

FIRST_PERSON = 2 * 10**6
GAINS = (1.7, 2.2, 2.8, 3.2, 3.5, 4.5)


def least_openness(animator: Animator, picture: torch.Tensor) -> float:
    """The eye-aspect ratio in a blink, relative to the open eye."""
    square, face = animator.portrait(picture)
    motion = held(face, 25)
    motion.blink[10:16] = SHUT_LIDS
    frames = animator.film(square, face, animator.encode(torch.zeros(16000)), motion)
    ratios = metrics.states(metrics.track(animator.landmarker, frames), square.shape[-1])[1].mean(1)
    return float(ratios[10:16].min() / np.quantile(ratios, 0.8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--people", type=int, default=8)
    options = parser.parse_args()
    animator, mesh = Animator.load(options.model), HeadMesh()
    people = [rendered_portrait(mesh, FIRST_PERSON + number) for number in range(options.people)]
    denoiser = animator.networks["denoiser"]
    for gain in GAINS:
        denoiser.config = dataclasses.replace(denoiser.config, blink_gain=gain)
        openness = [least_openness(animator, person) for person in people]
        print(f"gain={gain:.1f} mean={np.mean(openness):.2f} worst={max(openness):.2f}", flush=True)


if __name__ == "__main__":
    main()
