"""Plans: what fits, what is refused, and that estimates hold against measured memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from live_bytes import LiveBytes

from dawn_model.config import FlowAutoencoderConfig
from dawn_model.diffusion.noise import FrameNoise
from dawn_model.diffusion.sampler import latent_noise
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder
from dawn_model.layers.slices import Slices
from dawn_model.memory import WORKSPACE, Need, choose_plan, rendering_need, sampling_need
from dawn_model.pipeline import SamplingOptions, sample_motion

CPU = torch.device("cpu")
NEED = Need(frames=100, fixed=1000, clip=5000, slice=100, widest=25, least=150, preferred=16)


def test_a_plan_takes_what_suits_the_device_and_less_when_memory_decides():
    assert choose_plan(NEED, free=10_000).frames == 16
    assert choose_plan(NEED, free=7000).frames == 8
    assert choose_plan(NEED, free=6150).frames == 1
    assert choose_plan(NEED, free=10_000, requested=30).frames == 30
    assert choose_plan(NEED, free=100_000, requested=300).frames == 100
    plan = choose_plan(NEED, free=7000)
    assert (plan.bytes, plan.slices) == (6800, Slices(8 * 25))
    assert str(plan) == "8 of 100 frames at a time, about 0 MB beside the weights"


def test_activations_move_to_the_host_when_one_frame_is_too_much():
    plan = choose_plan(NEED, free=3000, host_free=9000)
    assert (plan.frames, plan.store, plan.bytes) == (16, CPU, 2600)
    assert "activations of the clip (0 MB) in host memory" in str(plan)
    assert choose_plan(NEED, free=7000, host_free=9000).store is None


def test_memory_that_runs_out_has_a_way_on_to_the_end():
    plan, seen = choose_plan(NEED, free=7000, host_free=9000), []
    while plan:
        seen.append((plan.frames, plan.store))
        plan = plan.smaller()
    assert seen == [(8, None), (4, None), (2, None), (1, None)] + [(n, CPU) for n in (16, 8, 4, 2, 1)]
    assert choose_plan(NEED, free=6150).smaller() is None


@pytest.mark.parametrize(
    ("scale", "free", "requested", "host_free", "message"),
    [
        (
            10**6,
            3000,
            0,
            None,
            r"100 frames need at least 6,150 MB beside the weights, and 3,000 MB are free",
        ),
        (10**6, 1000, 0, 10**10, r"at least 1,150 MB beside the weights, and 1,000 MB are free"),
        (10**6, 3000, 0, 4 * 10**9, r"or 5,000 MB of host memory, and 4,000 MB are free"),
        (
            10**6,
            7000,
            50,
            None,
            r"11,000 MB .* with 50 frame.*Use fewer frames per slice \(0 chooses; 50 are",
        ),
    ],
)
def test_what_can_not_fit_is_refused_with_numbers(scale, free, requested, host_free, message):
    need = Need(
        **{
            **vars(NEED),
            **{name: getattr(NEED, name) * scale for name in ("fixed", "clip", "slice", "least")},
        }
    )
    with pytest.raises(ValueError, match=message):
        choose_plan(need, free * scale, requested, host_free)


def sample(unet, frames, size, run=None, steps=1):
    source = torch.randn(1, 272, size, size, generator=torch.Generator().manual_seed(1))
    condition = torch.randn(frames, 1032, generator=torch.Generator().manual_seed(2))
    noise = latent_noise(FrameNoise(1, "motion"), frames, size, size, torch.zeros(()))
    return sample_motion(unet, source, condition, noise, SamplingOptions(steps), run=run)


@pytest.mark.parametrize(("frames", "size", "portion"), [(12, 32, 1), (12, 32, 4), (60, 16, 4), (6, 32, 6)])
def test_sampling_needs_what_is_predicted(unet, frames, size, portion):
    need = sampling_need(unet.config, frames, size, size, 4, CPU)
    with LiveBytes() as live:
        sample(unet, frames, size, lambda call: call(Slices(portion * need.widest)))
    predicted = need.bytes(portion) - WORKSPACE
    assert live.peak <= predicted <= 2.5 * live.peak


def test_a_frame_more_needs_less_than_two_megabytes(unet):
    """32 × 32 in fp32, activations of the clip and the sampler's own included."""
    peaks = []
    for frames in (8, 16):
        with LiveBytes() as live:
            sample(unet, frames, 32, lambda call: call(Slices(1 << 20)))
        peaks.append(live.peak)
    assert 0.5e6 < (peaks[1] - peaks[0]) / 8 < 2e6


@pytest.mark.parametrize("frames", [1, 3])
def test_rendering_needs_what_is_predicted(frames):
    config = FlowAutoencoderConfig()
    autoencoder = FlowAutoencoder(config).eval()
    source = autoencoder.encode(torch.rand(1, 3, 128, 128))
    with LiveBytes() as live:
        autoencoder.decode(source, torch.rand(frames, 32, 32, 2) * 2 - 1, torch.rand(frames, 1, 32, 32))
    predicted = rendering_need(config, frames, 128, 4, CPU).bytes(frames) - WORKSPACE
    assert live.peak <= predicted <= 2.5 * live.peak


def test_a_call_that_ran_out_of_memory_is_repeated_and_the_clip_goes_on(unet):
    budgets = []

    def short_of_memory(call):
        """The second call fails half-way through the network; what follows is sliced finer."""
        if len(budgets) == 1:
            failing = FailingSlices(1 << 20)
            with pytest.raises(MemoryError):
                call(failing)
            assert failing.calls.count > 20
        budgets.append((1 << 20) >> (2 * bool(budgets)))
        return call(Slices(budgets[-1]))

    undisturbed = sample(unet, 12, 8, steps=3)
    continued = sample(unet, 12, 8, short_of_memory, steps=3)
    assert budgets == [1 << 20, 1 << 18, 1 << 18]
    assert (continued.flow - undisturbed.flow).abs().max() < 2e-5


class FailingSlices(Slices):
    def __init__(self, budget: int):
        super().__init__(budget)
        object.__setattr__(self, "calls", Calls())

    def frames(self, *args, **kwargs):
        self.calls.count += 1
        if self.calls.count > 20:
            raise MemoryError
        return super().frames(*args, **kwargs)


class Calls:
    count = 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_a_clip_larger_than_the_memory_it_may_use_completes():
    """benchmarks/long_clip.py with 200 small frames: activations of 79 MB and all else in 100 MB."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "long_clip.py"
    options = ["--frames", "200", "--size", "16", "--limit-mb", "100", "--compare"]
    run = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "activations of the clip (79 MB) in host memory" in run.stdout
    difference = float(run.stdout.split()[-1])
    assert difference < 2e-5
