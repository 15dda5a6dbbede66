"""Samples a clip whose activations do not fit into the memory that is allowed, and shows that it completes.

    .venv/bin/python benchmarks/long_clip.py                 # 2,000 frames at 64×64, 1 GB above the weights
    .venv/bin/python benchmarks/long_clip.py --frames 60 --size 16 --limit-mb 60 --compare

On a GPU (--device cuda) the limit is on the device's memory, and activations wait in the host's. Without one
(Linux only) the limit is the operating system's on this process's own memory, and a mapped file, which that does
not count, stands for the host's memory beside a GPU. --compare samples the clip once more without a limit.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from run import process_status, recipe_denoiser  # noqa: E402

from dawn_model.diffusion.noise import FrameNoise  # noqa: E402
from dawn_model.diffusion.sampler import latent_noise  # noqa: E402
from dawn_model.layers.slices import Slices  # noqa: E402
from dawn_model.memory import choose_plan, megabytes, sampling_need  # noqa: E402
from dawn_model.pipeline import SamplingOptions, sample_motion  # noqa: E402
from dawn_model.structures import MotionLatents  # noqa: E402


class MappedSlices(Slices):
    """Keeps activations in nameless files that vanish with the process."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        count = math.prod(shape)
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(count * dtype.itemsize)
            return torch.from_file(file.name, shared=True, size=count, dtype=dtype).reshape(shape)


def limit_process(allowed: int) -> None:
    """Let this process allocate `allowed` bytes more than it has, and not one beyond."""
    import resource  # not on Windows

    limit = process_status("VmData") + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument(
        "--size", type=int, default=64, help="side of the motion latents: 32 for 128 px, 64 for 256"
    )
    parser.add_argument("--limit-mb", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compare", action="store_true")
    options = parser.parse_args()
    frames, size, device = options.frames, options.size, torch.device(options.device)
    allowed = options.limit_mb * 1_000_000

    unet = recipe_denoiser().to(device).eval()
    source, condition = torch.randn(1, 272, size, size).to(device), torch.randn(frames, 1032).to(device)
    noise = latent_noise(FrameNoise(1, "motion"), frames, size, size, torch.zeros((), device=device))

    def sample(run) -> MotionLatents:
        return sample_motion(unet, source, condition, noise, SamplingOptions(options.steps), run=run)

    whole = sample(None) if options.compare else None
    plan = choose_plan(sampling_need(unet.config, frames, size, size, 4, device), allowed, host_free=1 << 50)
    print(plan, flush=True)
    if device.type == "cpu":
        unet(
            torch.zeros(1, 3, 1, 8, 8),
            torch.tensor([1]),
            unet.prepare(source[..., :8, :8], condition[None, :1]),
        )
        slices = MappedSlices(plan.slices.budget, plan.store)
        limit_process(allowed)
    else:
        slices = plan.slices
        share = (torch.cuda.memory_reserved(device) + allowed) / torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(share, device)
    start = time.perf_counter()
    latents = sample(lambda call: call(slices))
    taken = time.perf_counter() - start
    print(
        f"{frames} frames of {size}×{size}, {options.steps} step(s), at most {megabytes(allowed)} beside the weights: "
        f"completed in {taken:.0f} s, {taken / frames / options.steps * 1e3:.0f} ms a frame and step"
    )
    if not torch.isfinite(latents.flow).all():
        raise SystemExit("the result is not finite")
    if whole:
        print(f"largest difference to the clip sampled whole: {(latents.flow - whole.flow).abs().max():.1e}")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
