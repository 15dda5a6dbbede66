"""Initial weights that let a small network learn in minutes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dawn_model.checkpoints.checkpoint import read_checkpoint
from dawn_model.config import DAWN_NANO, DawnConfig
from dawn_model.model import build_networks


def new_networks(seed: int, config: DawnConfig = DAWN_NANO) -> dict[str, nn.Module]:
    """All networks with PyTorch's own initialisation. The denoiser's fields begin small, so that the first
    prediction is nearly a still picture, and what the conditions ask for directly comes first: a field then
    learns at once what a degree of yaw does, instead of waiting for the network over time to mean something."""
    torch.manual_seed(seed)
    networks = build_networks(config)
    with torch.no_grad():
        networks["denoiser"].output.weight.mul_(0.1)
        networks["denoiser"].output.bias.zero_()
        fields = networks["denoiser"].motion_fields.output
        fields.weight.mul_(0.3)
        fields.bias.zero_()
        for module in networks.values():
            for name, parameter in module.named_parameters():
                if name.endswith("query"):
                    nn.init.normal_(parameter, std=0.02)
    return networks


def begin_from(path: Path | None, networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """The networks with the weights of a model file, or as they are where none is given."""
    if path is not None:
        for name, weights in read_checkpoint(path).tensors.items():
            networks[name].load_state_dict(weights)
    return networks
