"""How few steps are enough: every sampler and step count against a 200-step reference, on one model file.

    .venv/bin/python benchmarks/samplers.py dawn_model/assets/dawn_nano.safetensors
    .venv/bin/python benchmarks/samplers.py MODEL --portrait P.png --speech S.wav --seconds 6 --seeds 0 1 2

For models that bring their own speech encoder. The reference of a seed is DPM-Solver++(2M) with 200 steps from the
same noise. DDIM with eta 1 draws fresh noise at every step, so it comes close only with a model that does not listen to
the noise; else its lips say more than its distance. Distance: of the pictures' sampling positions, root mean square, in
pixels. Lips: the gap of the inner lips measured on the frames; its correlation with the reference's and with the
loudness of the speech, and its range. Results go to benchmarks/results/samplers.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dawn_model.audio.waveform import to_speech  # noqa: E402
from dawn_model.flow_autoencoder.render import render_frames  # noqa: E402
from dawn_model.pipeline import SamplingOptions  # noqa: E402
from dawn_model.structures import MotionLatents  # noqa: E402
from training.evaluation import metrics  # noqa: E402
from training.evaluation.animate import Animator  # noqa: E402

REFERENCE = SamplingOptions(steps=200, sampler="dpmpp_2m")
HEAD = [
    "sampler",
    "eta",
    "steps",
    "seconds",
    "distance, px",
    "lips: r with reference",
    "r with loudness",
    "range",
]


class Bench:
    """One portrait and one speech, ready to be sampled in any way."""

    def __init__(self, model: Path, portrait: Path, speech: Path, seconds: float):
        self.animator = Animator.load(model)
        picture = torch.from_numpy(np.array(Image.open(portrait).convert("RGB"))).float() / 255
        samples, rate = soundfile.read(speech, dtype="float32", always_2d=True)
        self.speech = to_speech(torch.from_numpy(samples.T.copy()), rate)[: round(seconds * 16000)]
        self.audio = self.animator.encode(self.speech)
        self.picture, self.face = self.animator.portrait(picture)
        self.features = self.animator.networks["autoencoder"].encode(self.picture)

    def sample(self, options: SamplingOptions, seed: int) -> tuple[MotionLatents, float]:
        """Motion, and the seconds it took."""
        motion = self.animator.head_motion(self.audio, self.face, seed)
        start = time.perf_counter()
        latents = self.animator.sample(self.features, self.face, self.audio, motion, seed, options)
        return latents, time.perf_counter() - start

    def lips(self, latents: MotionLatents) -> np.ndarray:
        frames = render_frames(self.animator.networks["autoencoder"], self.features, latents, 8)
        return metrics.lip_gap(metrics.track(self.animator.landmarker, frames))

    def pixels(self, a: MotionLatents, b: MotionLatents) -> float:
        half = self.animator.config.image_size / 2
        return float((a.flow - b.flow).square().sum(-1).mean().sqrt() * half)


def rows(bench: Bench, step_counts: list[int], seeds: list[int]) -> list[list[str]]:
    ways = [SamplingOptions(steps, 1.0) for steps in step_counts]
    ways += [SamplingOptions(steps, 0.0) for steps in step_counts]
    ways += [SamplingOptions(steps, sampler="dpmpp_2m") for steps in step_counts]
    loudness = metrics.envelope(bench.speech)
    found: dict[SamplingOptions, list[tuple[float, ...]]] = {way: [] for way in [*ways, REFERENCE]}
    for seed in seeds:
        reference, reference_taken = bench.sample(REFERENCE, seed)
        aim = bench.lips(reference)
        for way in found:
            latents, taken = bench.sample(way, seed) if way != REFERENCE else (reference, reference_taken)
            lips = bench.lips(latents)
            spread = float(np.quantile(lips, 0.95) - np.quantile(lips, 0.05))
            agreement = metrics.correlation(lips, aim), metrics.correlation(lips, loudness)
            found[way].append((taken, bench.pixels(latents, reference), *agreement, spread))
    table = []
    for way, measured in found.items():
        seconds, distance, reference_r, loud_r, spread = np.mean(measured, axis=0)
        eta = f"{way.eta:g}" if way.sampler == "ddim" else ""
        numbers = [
            f"{seconds:.2f}",
            f"{distance:.3f}",
            f"{reference_r:.3f}",
            f"{loud_r:.2f}",
            f"{spread:.3f}",
        ]
        table.append([way.sampler, eta, str(way.steps), *numbers])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--portrait", type=Path, default=ROOT / "media" / "portraits" / "astronaut.png")
    speech = ROOT / "media" / "speech" / "sense_and_sensibility.wav"
    parser.add_argument("--speech", type=Path, default=speech)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 6, 8, 10, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    bench = Bench(options.model, options.portrait, options.speech, options.seconds)
    found = rows(bench, options.steps, options.seeds)
    lines = ["| " + " | ".join(cells) + " |" for cells in [HEAD, ["---"] * len(HEAD), *found]]
    title = (
        f"{options.model.name}, {options.portrait.name}, {options.seconds:g} s, {len(options.seeds)} seed(s)"
    )
    text = "\n".join([title, "", *lines]) + "\n"
    print(text)
    target = Path(__file__).parent / "results" / "samplers.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
