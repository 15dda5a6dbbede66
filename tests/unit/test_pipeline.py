"""What a sampling step asks of the host, counted on a device without values."""

from __future__ import annotations

import pytest
import torch
from tiny import TINY
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dawn_model.denoiser.unet3d import UNet3D
from dawn_model.pipeline import SamplingOptions, sample_motion


class BetweenDevices(TorchFunctionMode):
    """Counts calls that send numbers from one device to another; from pageable memory, each waits for the device."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        sent = function is torch.tensor and result.device.type != "cpu"
        if sent or len({tensor.device for tensor in tensors}) > 1:
            self.calls.append(function)
        return result


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_a_step_sends_nothing_to_the_device(sampler):
    with torch.device("meta"):
        unet = UNet3D(TINY)
        source, condition, x = torch.empty(1, 12, 4, 6), torch.empty(9, 20), torch.empty(1, 3, 9, 4, 6)
    counts = []
    for steps in (3, 6):
        with BetweenDevices() as between:
            options = SamplingOptions(steps, sampler=sampler)
            sample_motion(unet, source, condition, lambda draw: x.clone(), options)
        counts.append(len(between.calls))
    assert counts[0] == counts[1], "only what is prepared once per clip may be sent"


@pytest.mark.parametrize(
    ("options", "draws"),
    [
        (SamplingOptions(7), 7),
        (SamplingOptions(7, eta=0.0), 1),
        (SamplingOptions(7, sampler="dpmpp_2m"), 1),
    ],
)
def test_draws_are_what_the_sampler_asks_for(options, draws):
    asked = []

    def noise(draw):
        asked.append(draw)
        return torch.zeros(1, 3, 2, 4, 6)

    sample_motion(UNet3D(TINY), torch.zeros(1, 12, 4, 6), torch.zeros(2, 20), noise, options)
    assert asked == list(range(options.draws)) and options.draws == draws
