"""Full-size networks with the golden weights, built once for all unit tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import make_recipe_models as recipe_models
import pytest
import recipe
import torch

from dawn_model.config import DenoiserConfig
from dawn_model.denoiser.unet3d import UNet3D
from dawn_model.official_keys import apply_table
from dawn_model.official_keys.denoiser import DENOISER_KEYS


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def unet():
    with torch.inference_mode():
        state = {
            key.removeprefix("diffusion."): recipe.weight(key, spec["shape"])
            for key, spec in recipe.manifest("dawn_128").items()
            if spec["recipe"] != "constructed"
        }
        ours, _, unknown = apply_table(state, DENOISER_KEYS)
        assert not unknown
        model = UNet3D(DenoiserConfig()).eval()
        model.load_state_dict(ours, strict=True)
        return model


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Iterator[Path]:
    """A folder as the authors' download leaves it, at full size. Never written to by a test."""
    folder = tmp_path_factory.mktemp("downloads")
    recipe_models.write_dawn(folder, 128)
    yield folder
    shutil.rmtree(folder)
