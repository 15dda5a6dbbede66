"""Initial weights that let a small network learn in minutes."""

from __future__ import annotations

import torch
from torch import nn

from dawn_model.config import DAWN_NANO, DawnConfig
from dawn_model.model import build_networks


def new_networks(seed: int, config: DawnConfig = DAWN_NANO) -> dict[str, nn.Module]:
    """All networks with PyTorch's own initialisation; the denoiser's heads begin near zero, so that the
    first prediction is a still picture. (With everything else zero as well nothing would ever move.)"""
    torch.manual_seed(seed)
    networks = build_networks(config)
    denoiser = networks["denoiser"]
    with torch.no_grad():
        for head in (denoiser.flow_head, denoiser.occlusion_head):
            head.output.weight.mul_(0.1)
            head.output.bias.zero_()
        denoiser.occlusion_head.output.bias.fill_(1.0)  # everything is visible
        for module in networks.values():
            for name, parameter in module.named_parameters():
                if name.endswith("query"):
                    nn.init.normal_(parameter, std=0.02)
                if name.endswith("null_kv"):
                    nn.init.normal_(parameter, std=0.1)
    return networks
