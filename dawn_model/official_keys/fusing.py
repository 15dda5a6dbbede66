"""Folds what is fixed at inference into the convolutions of `picture_blocks`.

Expects the authors' names inside a block: `conv, norm` (first, down, up) and `norm1, conv1, norm2, conv2`
(bottleneck). A network trained with batch norms under these names is exported by the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

EPSILON = 1e-5
"""Of the authors' batch norms (docs/model.md, "Files")."""

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def fuse(state: Mapping[str, Tensor], origin: Mapping[str, str]) -> dict[str, Tensor]:
    """Fold every batch norm and every nearest-neighbour upsampling. Computed in float64.

    Args:
        state:  tensors under our names, batch norms still included
        origin: the official name behind each, for the error

    Raises ValueError naming the official tensor that is missing or has another size than its convolution.
    """
    fused = dict(state)
    for key in state:
        block, _, layer = key.removesuffix(".weight").rpartition(".")
        if layer == "conv" and key.endswith(".weight"):
            _fold_after(fused, f"{block}.conv", f"{block}.norm", origin)
            if ".up_blocks." in f".{block}":
                fused[key] = upsampling_kernel(fused[key])
        elif layer == "conv1" and key.endswith(".weight"):
            _fold_after(fused, f"{block}.conv1", f"{block}.norm2", origin)
            scale, shift = _take_norm(fused, f"{block}.norm1", f"{block}.conv1", origin)
            dtype = state[key].dtype
            fused[f"{block}.norm1.weight"], fused[f"{block}.norm1.bias"] = scale.to(dtype), shift.to(dtype)
    return fused


def upsampling_kernel(weight: Tensor) -> Tensor:
    """[C', C, 3, 3] after nearest-neighbour doubling → [C, C', 4, 4] transposed, stride 2, padding 1.

    Along one axis taps (a, b, c) meet every input pixel twice: as (c, b + c, a + b, a).
    """
    flipped = weight.double().transpose(0, 1).flip(-2, -1)
    rows = pad(flipped, (0, 0, 0, 1)) + pad(flipped, (0, 0, 1, 0))
    both = pad(rows, (0, 1)) + pad(rows, (1, 0))
    return both.to(weight.dtype).contiguous()


def squares_kernel(weight: Tensor) -> Tensor:
    """[C', C, k, k] → [4 C', C, k + 1, k + 1] of stride 2: output pixel (row, column) of each 2×2 square
    becomes a channel, its kernel shifted by as much."""
    shifted = [pad(weight, (column, 1 - column, row, 1 - row)) for row in (0, 1) for column in (0, 1)]
    return torch.stack(shifted, dim=1).flatten(0, 1)


def squares_bias(bias: Tensor) -> Tensor:
    """[C'] → [4 C'], the same for all pixels of a square."""
    return bias.repeat_interleave(4)


def _fold_after(fused: dict[str, Tensor], conv: str, norm: str, origin: Mapping[str, str]) -> None:
    """Replace conv, norm by one convolution, in place."""
    scale, shift = _take_norm(fused, norm, conv, origin)
    weight, bias = fused[f"{conv}.weight"], fused.get(f"{conv}.bias")
    fused[f"{conv}.weight"] = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
    if bias is not None:
        fused[f"{conv}.bias"] = (bias.double() * scale + shift).to(bias.dtype)


def _take_norm(
    fused: dict[str, Tensor], norm: str, conv: str, origin: Mapping[str, str]
) -> tuple[Tensor, Tensor]:
    """Remove a norm's tensors; return what it does as scale and shift [C], float64."""
    tensors = []
    kernel = fused[f"{conv}.weight"].shape
    if len(kernel) != 4:
        raise ValueError(f"{origin[f'{conv}.weight']} has shape {list(kernel)}, expected a 2-D convolution")
    outputs = kernel[0]
    for name in _STATISTICS:
        tensor = fused.pop(f"{norm}.{name}", None)
        if tensor is None or tensor.shape != (outputs,):
            convolution = origin[f"{conv}.weight"]
            official = convolution.removesuffix(conv.rpartition(".")[2] + ".weight")
            official += f"{norm.rpartition('.')[2]}.{name}"
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
            raise ValueError(
                f"{official} is {found}, expected [{outputs}] like the outputs of {convolution} "
                f"{list(kernel)}"
            )
        tensors.append(tensor.double())
    weight, bias, mean, variance = tensors
    scale = weight / torch.sqrt(variance + EPSILON)
    return scale, bias - mean * scale
