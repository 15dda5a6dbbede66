"""Counts the kernels that a denoising step launches on a CUDA device, without one.

    .venv/bin/python benchmarks/count_kernels.py
    .venv/bin/python benchmarks/count_kernels.py --frames 200 --pixels 256 --where

Tensors are on the "meta" device: they have shapes and types, but no numbers. Every operation that reaches the
dispatcher and is no view counts as one kernel; a convolution counts one more for its bias and one more for weights that
are not in the channels-last layout that cuDNN needs for channels-last activations, and padding one more for its fill.
An operation may launch more than one kernel (`topk`), which only a profile on a device tells (benchmarks/gpu.py).
Attention counts as the one fused kernel. Copies from the host's common memory, for which the host waits, are counted
beside; a step that reads a number back from the device fails here, as there is none. Results go to
benchmarks/results/kernels.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dawn_model.config import DenoiserConfig  # noqa: E402
from dawn_model.denoiser.unet3d import UNet3D  # noqa: E402
from dawn_model.diffusion.sampler import ddim_sample  # noqa: E402
from dawn_model.diffusion.schedule import cosine_schedule  # noqa: E402
from dawn_model.layers.slices import Slices  # noqa: E402

_aten = torch.ops.aten
_FREE = {
    _aten.empty.memory_format, _aten.empty_strided.default, _aten.empty_like.default, _aten.new_empty.default,
    _aten._unsafe_view.default,
}  # fmt: skip
"""What is no view by its signature and launches nothing all the same."""
_COPIES = {_aten._to_copy.default: 0, _aten.copy_.default: 1}
"""Which argument is copied. From the host's common memory it makes the host wait; a copy to the host fails here."""
STEPS = 3


class Kernels(TorchDispatchMode):
    """operations: kernels by the operation's name; places: by the line of this repository that asked for them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.synchronisations = 0

    @property
    def total(self) -> int:
        return self.operations.total()

    def add(self, name: str, count: int = 1) -> None:
        self.operations[name] += count
        frame = sys._getframe(2)
        while frame and "dawn_model" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame:
            self.places[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"] += count

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)]
        if not any(tensor.is_meta for tensor in given):
            return result  # the host's own small sums
        if func in _COPIES:
            self.synchronisations += not args[_COPIES[func]].is_meta
        if func not in _FREE and not _is_view(func):
            extra = int(func is _aten.constant_pad_nd.default)
            if func is _aten.convolution.default:
                _, weight, bias = args[:3]
                extra = (bias is not None) + (not weight.is_contiguous(memory_format=torch.channels_last))
                # As cuDNN does; without a device, some layers answer in the other layout.
                result = result.contiguous(memory_format=torch.channels_last)
            self.add(func.overloadpacket.__name__, 1 + extra)
        return result


class LikeCuda(TorchFunctionMode):
    """Tensors without numbers take CUDA's way through the code: they say that they are CUDA's, and attention is the
    one kernel that CUDA has for it."""

    def __init__(self, kernels: Kernels | None = None):
        super().__init__()
        self._kernels = kernels

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func == torch.Tensor.is_cuda.__get__:
            return True
        if func is torch.nn.functional.scaled_dot_product_attention:
            if self._kernels:
                self._kernels.add("scaled_dot_product_attention")
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def _is_view(func: Any) -> bool:
    returned = [result.alias_info for result in func._schema.returns]
    return bool(returned) and all(alias is not None and not alias.is_write for alias in returned)


def step_kernels(
    frames: int, pixels: int, dtype: torch.dtype = torch.float16, slices: Slices | None = None
) -> dict[str, Kernels]:
    """Of one step of the sampler on a clip of the authors' size: of the "denoiser", and of the "sampler" beside it."""
    side = pixels // 4
    meta = {"device": "meta", "dtype": dtype}
    with torch.inference_mode(False), torch.device("meta"):
        unet = UNet3D(DenoiserConfig()).to(dtype).eval()
    with torch.inference_mode(False), torch.no_grad(), LikeCuda():
        clip = unet.prepare(torch.empty(1, 272, side, side, **meta), torch.empty(1, frames, 1032, **meta))
        slices = slices or Slices.for_device(torch.device("meta"))
        x = torch.empty(1, 3, frames, side, side, device="meta")
        timestep = torch.empty(1, device="meta", dtype=torch.long)
        denoiser = counted(lambda: unet(x.to(dtype), timestep, clip, slices).to(x))

        def sampled(steps: int) -> Kernels:
            noise = lambda _: torch.empty_like(x)  # noqa: E731
            predict = lambda x, _: torch.empty_like(x)  # noqa: E731
            return counted(lambda: ddim_sample(predict, noise, cosine_schedule(), steps))

        longer, shorter = sampled(STEPS + 1), sampled(STEPS)
        longer.operations -= shorter.operations
        longer.places -= shorter.places
        longer.synchronisations -= shorter.synchronisations
    return {"denoiser": denoiser, "sampler": longer}


def counted(call: Callable[[], object]) -> Kernels:
    kernels = Kernels()
    # In inference mode, operations that are made of others would arrive whole.
    with torch.inference_mode(False), torch.no_grad(), LikeCuda(kernels), kernels:
        call()
    return kernels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--pixels", type=int, nargs="+", default=[128, 256])
    parser.add_argument(
        "--where", action="store_true", help="also by line and by operation; writes no results"
    )
    options = parser.parse_args()
    head = ["frames", "pixels", "denoiser", "sampler", "a step", "synchronisations"]
    rows = [head, ["---"] * len(head)]
    for pixels in options.pixels:
        for frames in options.frames:
            parts = step_kernels(frames, pixels)
            counts = [part.total for part in parts.values()]
            waits = sum(part.synchronisations for part in parts.values())
            rows.append([str(cell) for cell in (frames, pixels, *counts, sum(counts), waits)])
            if options.where:
                for part in parts.values():
                    for name, count in [*part.operations.most_common(25), *part.places.most_common(60)]:
                        print(f"{count:6} {name}")
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    text = (
        "\n".join([f"Kernels of a denoising step, fp16, counted with torch {torch.__version__}", "", *lines])
        + "\n"
    )
    print(text)
    if not options.where:
        (Path(__file__).parent / "results" / "kernels.md").write_text(text)


if __name__ == "__main__":
    main()
