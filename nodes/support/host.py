"""The one place that knows ComfyUI's devices, memory management and differences between versions."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor, nn

from ...dawn_model.hardware.cpu_precision import bf16_is_faster
from ...dawn_model.hardware.host_memory import empty_on_host
from ...dawn_model.hardware.out_of_memory import is_out_of_memory
from ...dawn_model.layers.slices import Slices
from ...dawn_model.memory import Need, Plan, choose_plan

log = logging.getLogger(__name__)

OPERATIONS = comfy.ops.manual_cast
"""Layers that follow the activation's device and dtype, so the host may leave weights anywhere."""

IN_PARTS = "make the clip in parts with first_frame and last_frame of DAWN Render Frames"

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DTYPE_CHOICES = ["auto", *DTYPES]


def choose_dtype(choice: str, device: torch.device) -> torch.dtype:
    """The dtype for a widget's value; auto takes half precision where the device is faster at it.

    How far that is from fp32 is measured by benchmarks/precision.py.

    Raises ValueError for a value that is no choice, or one that the device can not compute in.
    """
    if choice == "auto":
        if mm.is_device_cpu(device):  # ComfyUI rules out half precision there, whatever the CPU can do
            return torch.bfloat16 if bf16_is_faster() else torch.float32
        if mm.should_use_fp16(device):
            return torch.float16
        return torch.bfloat16 if mm.should_use_bf16(device) else torch.float32
    if choice not in DTYPES:
        raise ValueError(f"dtype is {choice!r}; choose one of {', '.join(DTYPE_CHOICES)}")
    supported = choice != "fp16" if mm.is_device_cpu(device) else mm.supports_dtype(device, DTYPES[choice])
    if not supported:
        raise ValueError(f"dtype {choice} is not supported on {device}; choose auto")
    return DTYPES[choice]


def patcher_for(module: nn.Module, load_device: torch.device, offload_device: torch.device):
    """A module under the host's memory management."""
    # Newer versions page weights through CoreModelPatcher; 0.3.75 has only ModelPatcher.
    patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher_class(module, load_device=load_device, offload_device=offload_device)


def adopt(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype):
    """Load weights into a module built with OPERATIONS and hand it to the host, to be run on its
    main device. Returns the patcher."""
    patcher = patcher_for(module, mm.get_torch_device(), mm.unet_offload_device())
    archive = getattr(mm, "archive_model_dtypes", None)
    if archive:
        archive(module)
    is_dynamic = _is_dynamic(patcher)
    state = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }
    module.load_state_dict(state, strict=True, assign=is_dynamic)
    module.eval().requires_grad_(False)
    return patcher


def load(patchers: list[Any], memory: float, whole: bool = False) -> torch.device:
    """Bring models to their device with room for `memory` bytes of activations; returns the device.

    whole: not a part of the weights, whatever is free: for layers that do not follow the activation
    """
    mm.load_models_gpu(patchers, memory_required=memory, force_full_load=whole)
    return patchers[0].load_device


def result_device() -> torch.device:
    """Where finished frames belong: the CPU, unless the user asked for the GPU."""
    return mm.intermediate_device()


def empty_images(
    frames: int, height: int, width: int, name: str, sides: int = 0, otherwise: str = IN_PARTS
) -> Tensor:
    """Room for an IMAGE [F, H, W, 3], in half precision where the user asked ComfyUI for that.

    name: of the input that decides how much that is; sides: how many of it the longest side has, 0 when it is no size;
    otherwise: what helps beside a smaller size

    Raises ValueError, before the system runs out of memory and ends ComfyUI.
    """
    dtype = getattr(mm, "intermediate_dtype", lambda: torch.float32)()  # not in 0.3.75
    device = result_device()
    needed = frames * height * width * 3 * dtype.itemsize
    free = free_memory(device)
    if needed > free:
        smaller = int(max(height, width) * math.sqrt(0.8 * free / needed) / max(1, sides))
        help_by = (
            f"Choose {smaller} or less, or {otherwise}" if sides else otherwise[0].upper() + otherwise[1:]
        )
        raise ValueError(
            f"{name}: {frames} frames of {width}×{height} take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            f"free. {help_by}"
        )
    if mm.is_device_cpu(device):
        return empty_on_host(frames, height, width, 3, dtype=dtype)
    return torch.empty(frames, height, width, 3, dtype=dtype, device=device)


def free_memory(device: torch.device, keep: Iterable[Any] = ()) -> float:
    """Bytes that may be taken: what is free, and what weights make way for by themselves.

    keep: models whose weights stay

    Where ComfyUI does not know it, on DirectML, without end: it always says 1 GB there, which would refuse what fits.
    `SmallerSlicesOnRetry` then finds what does.
    """
    if _is_directml(device):
        return math.inf
    others = [patcher for patcher in mm.loaded_models() if not any(patcher is kept for kept in keep)]
    return mm.get_free_memory(device) + sum(_paged(patcher, device) for patcher in others)


def _is_directml(device: torch.device) -> bool:
    return mm.is_directml_enabled() and not mm.is_device_cpu(device)


def _paged(patcher: Any, device: torch.device) -> int:
    """Bytes of a model's weights on a device that leave it as soon as anything else asks for their room.

    Only ComfyUI 0.33 and later, on CUDA, page weights so. It does not unload such a model for the sake of another one,
    and what the driver calls free does not count its pages.
    """
    if patcher is None or not _is_dynamic(patcher) or patcher.load_device != device:
        return 0
    return max(0, patcher.loaded_size() - getattr(patcher.model, "model_loaded_weight_memory", 0))


def _unpaged(patcher: Any) -> int:
    """Bytes of a model's weights that will come to the device when it runs, not when it is loaded."""
    return max(0, patcher.model_size() - patcher.loaded_size()) if _is_dynamic(patcher) else 0


def _is_dynamic(patcher: Any) -> bool:
    return getattr(patcher, "is_dynamic", lambda: False)()  # not in 0.3.75


def load_for(patchers: list[Any], need: Need, requested: int, what: str) -> tuple[torch.device, Plan]:
    """Bring models to their device and plan how a stage is sliced there; says in the log what was chosen.

    requested: frames at once as the user wants them, 0 to choose; what: the node's name, for log and errors

    Raises ValueError with the numbers, before anything is computed, when the stage can not fit.
    """
    device = patchers[0].load_device
    shared = mm.is_device_cpu(device) or mm.is_device_mps(device)  # the device computes in host memory
    host_free = None if shared else mm.get_free_memory(torch.device("cpu"))
    reserved = 0 if shared else mm.extra_reserved_memory()
    attainable = free_memory(device)
    if not shared and math.isfinite(attainable):
        weights = sum(patcher.model_size() for patcher in patchers)
        attainable = mm.get_total_memory(device) - weights - reserved
    try:
        load(patchers, choose_plan(need, attainable, requested, host_free).bytes)
        weights_stay = free_memory(device, keep=patchers) - reserved - sum(map(_unpaged, patchers))
        try:
            plan = choose_plan(need, weights_stay, requested, host_free)
        except ValueError:  # pages of its own make way as well, which is slow, and no error
            plan = choose_plan(need, free_memory(device) - reserved, requested, host_free)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    log.info("%s: %s", what, plan)
    return device, plan


def device_beside_models(need: Need, sooner: bool, what: str) -> tuple[torch.device, Plan]:
    """Where to compute what needs no weights, but ways of looking pixels up that Metal and DirectML lack: on the main
    device if the results stay there or that is `sooner`, else on the CPU.

    what: the node's name, for the log, which says what was chosen
    """
    device, cpu = mm.get_torch_device(), (torch.device("cpu"), Plan(need, 1))
    able = not (mm.is_device_cpu(device) or mm.is_device_mps(device) or _is_directml(device))
    if not able or not (sooner or not mm.is_device_cpu(result_device())):
        return cpu
    reserved = mm.extra_reserved_memory()
    mm.free_memory(need.bytes(min(need.preferred, need.frames)) + reserved, device)
    try:
        plan = choose_plan(need, free_memory(device) - reserved)
    except ValueError as error:
        log.warning("%s: computes on the CPU, because %s has no room: %s", what, device, error)
        return cpu
    log.info("%s on %s: %s", what, device, plan)
    return device, plan


class SmallerSlicesOnRetry:
    """Calls a function by a plan; whenever memory runs out, again with smaller slices, which then stay."""

    def __init__(self, plan: Plan, what: str):
        self.plan = plan
        self._what = what

    def __call__(self, run: Callable[[Plan], Any]) -> Any:
        while True:
            try:
                return run(self.plan)
            except Exception as error:
                # Not core's `OOM_EXCEPTION`: where torch lacks the exception, that is every Exception.
                if not is_out_of_memory(error):
                    raise
                smaller = self.plan.smaller()
                if smaller is None:
                    raise
            # Outside the except block, so that the exception no longer holds the failed tensors.
            self.plan = smaller
            log.warning("%s: out of memory, continuing with %d frames at a time", self._what, smaller.frames)
            gc.collect()
            mm.soft_empty_cache()


def cancellable(slices: Slices) -> Slices:
    """The same, and the user may cancel between any two of them."""
    return dataclasses.replace(slices, between=mm.throw_exception_if_processing_interrupted)


def is_cancelled(error: Exception) -> bool:
    """Whether the user has cancelled; an Exception in older versions, a BaseException in newer ones."""
    return isinstance(error, mm.InterruptProcessingException)
