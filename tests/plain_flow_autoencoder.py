"""The decoder written down plainly (docs/model.md, "Flow autoencoder"), with none of our shortcuts.

Works on the authors' names: batch norms apart, upsampling stored, the source encoded again for every
frame. The tests prove `FlowAutoencoder` equal to it; benchmarks time against it.
"""

from __future__ import annotations

import recipe
import torch
import torch.nn.functional as F
from torch import Tensor


def tiny_official_state(width: int, down_blocks: int, bottleneck_blocks: int) -> dict[str, Tensor]:
    """Recipe weights for the keys that the authors' classes would have in these sizes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, channels: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{tensor}"] = (channels,)

    def block(name: str, inputs: int, outputs: int, kernel: int) -> None:
        conv(f"{name}.conv", inputs, outputs, kernel)
        norm(f"{name}.norm", outputs)

    block("generator.first", 3, width, 7)
    for i in range(down_blocks):
        block(f"generator.down_blocks.{i}", width << i, width << (i + 1), 3)
        block(f"generator.up_blocks.{down_blocks - 1 - i}", width << (i + 1), width << i, 3)
    for i in range(bottleneck_blocks):
        for part in "12":
            norm(f"generator.bottleneck.r{i}.norm{part}", width << down_blocks)
            conv(f"generator.bottleneck.r{i}.conv{part}", width << down_blocks, width << down_blocks, 3)
    conv("generator.final", width, 3, 7)
    return {key: recipe.weight(key, shape) for key, shape in shapes.items()}


class PlainFlowAutoencoder:
    """`compute_fea` and `forward_with_flow` for one picture and one frame."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = {key.removeprefix("generator."): tensor for key, tensor in state.items()}
        self.levels = len({key.split(".")[1] for key in self.state if key.startswith("down_blocks.")})
        self.blocks = len({key.split(".")[1] for key in self.state if key.startswith("bottleneck.")})

    def encode(self, picture: Tensor) -> list[Tensor]:
        features = [F.relu(self._norm("first.norm", self._conv("first.conv", picture, 3)))]
        for i in range(self.levels):
            x = self._conv(f"down_blocks.{i}.conv", features[-1], 1)
            features.append(F.avg_pool2d(F.relu(self._norm(f"down_blocks.{i}.norm", x)), 2))
        return features

    def decode(self, picture: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
        """picture [1, 3, S, S]; flow [1, h, w, 2]; occlusion [1, 1, h, w] → [1, 3, S, S]."""
        features = self.encode(picture)
        x = self._warp(features[-1], flow) * self._resized(occlusion, features[-1])
        for i in range(self.blocks):
            y = self._conv(f"bottleneck.r{i}.conv1", F.relu(self._norm(f"bottleneck.r{i}.norm1", x)), 1)
            y = self._conv(f"bottleneck.r{i}.conv2", F.relu(self._norm(f"bottleneck.r{i}.norm2", y)), 1)
            x = x + y
        for i in range(self.levels):
            x = self._blend(features[-1 - i], x, flow, occlusion)
            x = self._conv(f"up_blocks.{i}.conv", F.interpolate(x, scale_factor=2, mode="nearest"), 1)
            x = F.relu(self._norm(f"up_blocks.{i}.norm", x))
        x = self._blend(features[0], x, flow, occlusion)
        x = torch.sigmoid(self._conv("final", x, 3))
        return self._blend(picture, x, flow, occlusion)

    def _conv(self, name: str, x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=padding)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-5)

    def _resized(self, maps: Tensor, like: Tensor) -> Tensor:
        if maps.shape[-2:] == like.shape[-2:]:
            return maps
        return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)

    def _warp(self, x: Tensor, flow: Tensor) -> Tensor:
        grid = self._resized(flow.permute(0, 3, 1, 2), x).permute(0, 2, 3, 1)
        return F.grid_sample(x, grid.to(x.dtype), align_corners=False)

    def _blend(self, source: Tensor, previous: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
        weight = self._resized(occlusion, source).to(source.dtype)
        return self._warp(source, flow) * weight + previous * (1 - weight)
