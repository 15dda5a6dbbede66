"""How far half precision is from fp32: one denoiser call, a whole sampling and rendering, on the same weights.

    .venv/bin/python benchmarks/precision.py
    .venv/bin/python benchmarks/precision.py --device cuda --dtypes bf16 fp16 --frames 50 --size 32

The sensitive parts are float32 in every dtype: statistics of norms and their reciprocal roots, softmax, the
latents, the schedule and the sampler. Errors are root mean squares relative to the deviation of the fp32 result;
of frames, in 8-bit steps. Weights are the made-up ones of the golden tensors; the speech encoder has HuBERT-large's
size and fresh weights and hears real speech; the last column is dawn-nano with a real portrait and speech, whose
denoiser computes in float32 always. Results go to benchmarks/results/precision-<device>.md.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import soundfile
import torch
from run import DTYPES, ROOT, recipe_autoencoder, recipe_denoiser
from samplers import Bench

from dawn_model.audio.hubert import HubertEncoder, HubertSize
from dawn_model.audio.waveform import to_speech
from dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL
from dawn_model.config import DenoiserConfig
from dawn_model.diffusion.noise import FrameNoise
from dawn_model.diffusion.sampler import latent_noise
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder
from dawn_model.flow_autoencoder.render import render_frames
from dawn_model.pipeline import SamplingOptions, sample_motion
from dawn_model.structures import MotionLatents

EXAMPLES, SPEECH = ROOT / "media", "sense_and_sensibility.wav"

HEAD = ["dtype", "one call", "latents after {} steps", "frames, mean / 99.9 %", "time of a call against fp32"]
HEAD += ["speech encoder", "dawn-nano's frames, mean / 99.9 %"]


def relative(measured: torch.Tensor, exact: torch.Tensor) -> float:
    return float((measured.float() - exact).square().mean().sqrt() / exact.std())


def synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def compute(dtype: torch.dtype, options: argparse.Namespace) -> tuple[torch.Tensor, ...]:
    """One call's noise, sampled latents, frames of given motion, and the seconds of a call."""
    device, frames, size = torch.device(options.device), options.frames, options.size
    config, draw = DenoiserConfig(), torch.Generator().manual_seed(1)
    unet = recipe_denoiser().to(device, dtype).eval()
    channels = config.feature_channels + config.box_channels
    source = torch.randn(1, channels, size, size, generator=draw).to(device, dtype)
    condition = torch.randn(frames, config.condition_dim, generator=draw).to(device, dtype)
    x = torch.randn(1, 3, frames, size, size, generator=draw).to(device, dtype)
    flow = (torch.rand(4, 32, 32, 2, generator=draw) * 2 - 1).to(device)
    occlusion = torch.rand(4, 1, 32, 32, generator=draw).to(device)
    picture = torch.rand(1, 3, 128, 128, generator=draw).to(device)

    clip = unet.prepare(source, condition[None])
    timestep = torch.tensor([500], device=device)
    call = unet(x, timestep, clip)
    synchronise(device)
    start = time.perf_counter()
    unet(x, timestep, clip)
    synchronise(device)
    taken = time.perf_counter() - start
    noise = latent_noise(FrameNoise(1, "motion"), frames, size, size, torch.zeros((), device=device))
    sampled = sample_motion(unet, source, condition, noise, SamplingOptions(options.steps))
    autoencoder = recipe_autoencoder().to(device, dtype).eval()
    shown = autoencoder.decode(autoencoder.encode(picture, dtype), flow, occlusion)
    return call.float().cpu(), sampled.flow.cpu(), shown.cpu(), taken


def embedded_clip() -> tuple[FlowAutoencoder, torch.Tensor, MotionLatents]:
    """The embedded model's autoencoder, a portrait, and two seconds of sampled motion of it."""
    bench = Bench(EMBEDDED_MODEL, EXAMPLES / "portraits" / "astronaut.png", EXAMPLES / "speech" / SPEECH, 2.0)
    latents, _ = bench.sample(SamplingOptions(steps=bench.animator.config.denoiser.sampling_steps), seed=0)
    return bench.animator.networks["autoencoder"], bench.picture, latents


def embedded_frames(clip: tuple, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    autoencoder, picture, latents = clip
    autoencoder = copy.deepcopy(autoencoder).to(device, dtype)
    return render_frames(autoencoder, autoencoder.encode(picture.to(device), dtype), latents)


def heard(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Two seconds of speech through an encoder of HuBERT-large's size, its weights as transformers draws them."""
    torch.manual_seed(0)
    encoder = HubertEncoder(HubertSize()).to(device, dtype)
    samples, rate = soundfile.read(EXAMPLES / "speech" / SPEECH, dtype="float32", always_2d=True)
    speech = to_speech(torch.from_numpy(samples.T.copy()), rate)[:32000]
    return encoder.encode(speech.to(device)).cpu()


def steps_of_255(measured: torch.Tensor, exact: torch.Tensor) -> str:
    difference = ((measured - exact).abs() * 255).flatten()
    largest = difference.topk(len(difference) // 1000 + 1).values[-1]
    return f"{difference.mean():.3f} / {largest:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["bf16"])
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    exact, device, clip = compute(torch.float32, options), torch.device(options.device), embedded_clip()
    exact_heard = heard(torch.float32, device)
    exact_embedded = embedded_frames(clip, torch.float32, device)
    table = []
    for name in options.dtypes:
        measured = compute(DTYPES[name], options)
        table.append(
            [
                name,
                f"{relative(measured[0], exact[0]):.2%}",
                f"{relative(measured[1], exact[1]):.2%}",
                steps_of_255(measured[2], exact[2]),
                f"{measured[3] / exact[3]:.2f}",
                f"{relative(heard(DTYPES[name], device), exact_heard):.2%}",
                steps_of_255(embedded_frames(clip, DTYPES[name], device), exact_embedded),
            ]
        )
    head = [cell.format(options.steps) for cell in HEAD]
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *table]]
    title = f"{options.frames} frames of {options.size}×{options.size} on {options.device}, torch {torch.__version__}"
    text = "\n".join([title, "", *lines]) + "\n"
    print(text)
    target = Path(__file__).parent / "results" / f"precision-{options.device}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
