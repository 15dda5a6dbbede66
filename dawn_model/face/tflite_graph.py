"""Runs a small converted TFLite network, operator by operator.

A converted file keeps, for each network, a list of operators `[name, inputs, outputs, options]` whose
inputs and outputs are tensor numbers, and the constant tensors under those numbers. Activations keep
TFLite's order [B, H, W, C] between operators, because paddings, reshapes and concatenations are written
for it; the convolutions turn to [B, C, H, W] and back.

Source: TensorFlow Lite schema, https://www.tensorflow.org/lite (the operators' documented meaning).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAME_PADDING = 0
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: torch.relu,
    3: lambda x: x.clamp(0, 6),
}


def _pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0) -> Tensor:
    """[B, C, H, W] → padded so that the output has ceil(H / stride) rows; the odd pixel goes to the end."""
    pads = []
    for length, k, s in zip(x.shape[-2:], kernel, stride, strict=True):
        total = max((math.ceil(length / s) - 1) * s + k - length, 0)
        pads.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _convolve(inputs: list[Tensor], options: dict, depthwise: bool) -> Tensor:
    x, weight, *bias = inputs
    x = x.permute(0, 3, 1, 2)
    if options["p"] == SAME_PADDING:
        x = _pad_same(x, weight.shape[2:], options["s"])
    groups = weight.shape[0] if depthwise else 1
    x = F.conv2d(x, weight, bias[0] if bias else None, options["s"], groups=groups)
    return _ACTIVATIONS[options["a"]](x.permute(0, 2, 3, 1))


def _max_pool(inputs: list[Tensor], options: dict) -> Tensor:
    x = inputs[0].permute(0, 3, 1, 2)
    if options["p"] == SAME_PADDING:
        x = _pad_same(x, options["k"], options["s"], float("-inf"))
    return F.max_pool2d(x, options["k"], options["s"]).permute(0, 2, 3, 1)


def _pad(inputs: list[Tensor], options: dict) -> Tensor:
    # F.pad counts from the last axis, TFLite from the first.
    return F.pad(inputs[0], [amount for axis in reversed(options["pads"]) for amount in axis])


def _reshape(inputs: list[Tensor], options: dict) -> Tensor:
    # The file's shapes are for a batch of one.
    return inputs[0].reshape(inputs[0].shape[0], *options["shape"][1:])


_OPERATORS: dict[str, Callable[[list[Tensor], dict], Tensor]] = {
    "CONV_2D": lambda i, o: _convolve(i, o, depthwise=False),
    "DEPTHWISE_CONV_2D": lambda i, o: _convolve(i, o, depthwise=True),
    "MAX_POOL_2D": _max_pool,
    "ADD": lambda i, o: _ACTIVATIONS[o["a"]](i[0] + i[1]),
    "RELU": lambda i, o: torch.relu(i[0]),
    "PRELU": lambda i, o: torch.where(i[0] >= 0, i[0], i[0] * i[1]),
    "LOGISTIC": lambda i, o: torch.sigmoid(i[0]),
    "PAD": _pad,
    "RESHAPE": _reshape,
    "CONCATENATION": lambda i, o: torch.cat(i, o["axis"]),
}


class TfliteGraph(nn.Module):
    """One converted network.

    Args:
        graph: `ops`, `inp` and `out` as the converter wrote them.
        constants: tensor number → weight or slope; float16 ones are widened, so arithmetic is float32.

    Raises:
        ValueError: the graph uses an operator that is not implemented here.
    """

    def __init__(self, graph: dict, constants: dict[int, Tensor]):
        super().__init__()
        unknown = sorted({name for name, *_ in graph["ops"]} - _OPERATORS.keys())
        if unknown:
            raise ValueError(f"the converted network uses operators this version cannot run: {unknown}")
        self.operators = graph["ops"]
        self.input, self.outputs = graph["inp"][0], graph["out"]
        self.constants = sorted(constants)
        for number, tensor in constants.items():
            self.register_buffer(f"constant_{number}", tensor.float(), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, H, W, C] → the network's outputs, each with B first."""
        values = {number: getattr(self, f"constant_{number}") for number in self.constants}
        values[self.input] = x
        for name, inputs, outputs, options in self.operators:
            values[outputs[0]] = _OPERATORS[name]([values[i] for i in inputs if i >= 0], options)
        return [values[number] for number in self.outputs]
