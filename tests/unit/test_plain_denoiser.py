"""The yardstick of the benchmarks is itself exact, and the implementation equals it."""

from __future__ import annotations

import sys
from pathlib import Path

import recipe
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from plain_denoiser import plain_denoiser


def official_state():
    return {
        key.removeprefix("diffusion.denoise_fn."): recipe.weight(key, spec["shape"])
        for key, spec in recipe.manifest("dawn_128").items()
        if spec["recipe"] != "constructed"
    }


def test_plain_denoiser_and_implementation_agree_with_the_golden_output(unet, golden):
    case = "f50_s8"
    x = recipe.normal(f"input.unet.{case}.x", 1, 3, 50, 8, 8)
    feature = recipe.normal(f"input.unet.{case}.fea", 1, 256, 8, 8)
    source = torch.cat([feature, recipe.normal(f"input.unet.{case}.mask", 1, 16, 8, 8)], dim=1)
    condition = recipe.normal(f"input.unet.{case}.cond", 1, 50, 1032)
    plain = plain_denoiser(official_state(), x, torch.tensor([952]), source, condition)
    fast = unet(x, torch.tensor([952]), unet.prepare(source, condition))
    assert (plain - golden("unet")[f"{case}.out.t952.cs1.0"]).abs().max() < 5e-5
    assert (plain - fast).abs().max() < 5e-5
