"""The one place that knows ComfyUI's devices, memory management and differences between versions."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import torch
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer
from torch import Tensor, nn

from ...dawn_model.cpu_precision import bf16_is_faster
from ...dawn_model.layers.slices import Slices
from ...dawn_model.memory import Need, Plan, choose_plan
from ...dawn_model.out_of_memory import NO_ROOM, is_out_of_memory
from .bar_shares import SHARES

log = logging.getLogger(__name__)

OPERATIONS = comfy.ops.manual_cast
"""Layers that follow the activation's device and dtype, so the host may leave weights anywhere."""

SECONDS_BETWEEN_TEXTS = 0.2
OUTER_BAR = 1000
"""Length of a progress bar that several stages share."""
IN_PARTS = "make the clip in parts with first_frame and last_frame of DAWN Render Frames"
MOST_ENTRIES = 20_000

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
    is_dynamic = getattr(patcher, "is_dynamic", lambda: False)()
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


def stored_file(name: str) -> Path | None:
    """A file of the input or output folder by core's way of naming, "name [output]"; None when none is there."""
    # A workflow from Windows separates folders by backslashes. What core makes of a name differs between versions.
    relative, root = folder_paths.annotated_filepath(name.replace("\\", "/"))
    roots = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    try:
        path = (Path(root or folder_paths.get_input_directory()) / relative).resolve()
        inside = any(path.is_relative_to(Path(root).resolve()) for root in roots)
        return path if inside and path.is_file() else None
    except (OSError, ValueError):  # no file can have such a name
        return None


def files_below(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names, relative to a folder, of the files in it and below that end so, sorted; ComfyUI's own folders may hold
    very many, so after `MOST_ENTRIES` no more are looked at."""
    found, waiting, looked_at = [], [folder], 0
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            looked_at += 1
            if looked_at > MOST_ENTRIES:
                log.warning("DAWN: only the first %d files of %s are listed", MOST_ENTRIES, folder)
                return sorted(found)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.name.lower().endswith(endings) and entry.is_file():
                found.append(Path(entry.path).relative_to(folder).as_posix())
    return sorted(found)


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
    free = mm.get_free_memory(device)
    if needed > free:
        smaller = int(max(height, width) * math.sqrt(0.8 * free / needed) / max(1, sides))
        help_by = (
            f"Choose {smaller} or less, or {otherwise}" if sides else otherwise[0].upper() + otherwise[1:]
        )
        raise ValueError(
            f"{name}: {frames} frames of {width}×{height} take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            f"free. {help_by}"
        )
    return torch.empty(frames, height, width, 3, dtype=dtype, device=device)


def load_for(patchers: list[Any], need: Need, requested: int, what: str) -> tuple[torch.device, Plan]:
    """Bring models to their device and plan how a stage is sliced there; says in the log what was chosen.

    requested: frames at once as the user wants them, 0 to choose; what: the node's name, for log and errors

    Raises ValueError with the numbers, before anything is computed, when the stage can not fit.
    """
    device = patchers[0].load_device
    shared = mm.is_device_cpu(device) or mm.is_device_mps(device)  # the device computes in host memory
    host_free = None if shared else mm.get_free_memory(torch.device("cpu"))
    if shared:
        attainable = mm.get_free_memory(device)
    else:
        weights = sum(patcher.model_size() for patcher in patchers)
        attainable = mm.get_total_memory(device) - weights - mm.extra_reserved_memory()
    reserved = 0 if shared else mm.extra_reserved_memory()
    try:
        load(patchers, choose_plan(need, attainable, requested, host_free).bytes)
        plan = choose_plan(need, mm.get_free_memory(device) - reserved, requested, host_free)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    log.info("%s: %s", what, plan)
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


class Progress:
    """A node's progress bar, with what is going on in words, as in "sampling 3/4".

    Updating it is also how ComfyUI cancels the node. A stage inside another node moves its part of that node's bar.
    """

    def __init__(self, total: int, what: str):
        self._total = total
        self._what = what
        self._said = 0.0  # when the words were last sent; a message for every frame would load the page
        self._share = _share_of_outer_bar()
        self._bar = comfy.utils.ProgressBar(total)
        if self._share is not None:  # else that bar jumps back until the first step is done
            self._move(0, None)

    def of(self, total: int) -> None:
        """How many there will be, where that shows only on the way."""
        self._total = self._bar.total = total

    def update(self, done: int, preview: Tensor | None = None) -> None:
        """preview: RGB [3, H, W] in 0..1 to show on the node."""
        mm.throw_exception_if_processing_interrupted()
        if done >= self._total or time.monotonic() - self._said > SECONDS_BETWEEN_TEXTS:
            show_text(f"{self._what} {done}/{self._total}")
            self._said = time.monotonic()
        image = None
        if preview is not None:
            image = ("JPEG", _to_pil(preview), 512)
        self._move(done, image)

    def _move(self, done: int, image: tuple | None) -> None:
        if self._share is None:
            self._bar.update_absolute(done, self._total, image)
            return
        start, end = self._share
        part = start + (end - start) * min(1.0, done / max(1, self._total))
        self._bar.update_absolute(round(OUTER_BAR * part), OUTER_BAR, image)


def is_cancelled(error: Exception) -> bool:
    """Whether the user has cancelled; an Exception in older versions, a BaseException in newer ones."""
    return isinstance(error, mm.InterruptProcessingException)


def outer_node() -> str | None:
    """The class of the node that the running one is an inner stage of; None where it stands for itself."""
    context = get_executing_context()
    if context is None:
        return None
    prompt = get_progress_state().dynprompt
    shown = prompt.get_display_node_id(context.node_id)
    return None if shown == context.node_id else prompt.get_node(shown)["class_type"]


def _share_of_outer_bar() -> tuple[float, float] | None:
    """From where to where, 0..1, the running node moves the bar of the node that it is a stage of; None where its bar
    is its own."""
    outer = outer_node()
    if outer is None:
        return None
    context = get_executing_context()
    running = get_progress_state().dynprompt.get_node(context.node_id)["class_type"]
    return SHARES.get(outer, {}).get(running)


def show_text(text: str) -> None:
    """Show a line of text on the node that runs now, or on the node that it is an inner stage of.

    Does nothing where no server runs (tests, scripts): there is no page to show it on.
    """
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return
    shown = get_progress_state().dynprompt.get_display_node_id(context.node_id)
    server.send_progress_text(text, shown)


def advise(sentences: list[str], name: str) -> None:
    """Show what may disappoint on the node, and say it in the log; `name` is the input that it is about."""
    for sentence in sentences:
        log.warning("DAWN: %s: %s", name, sentence)
    if sentences:
        show_text("\n".join(sentences))


def _to_pil(picture: Tensor):
    from PIL import Image

    pixels = (picture.float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    return Image.fromarray(pixels)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A flat file of named tensors, pickled or safetensors, by ComfyUI's own safe loader.

    Raises ValueError that names the file when it is damaged or holds something else.
    """
    try:
        state = comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise ValueError(NO_ROOM.format(path.name)) from error
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path.name} can not be read: it is damaged, incomplete or not a model file. "
            f"Download it again. ({reason})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path.name} holds something other than named tensors")
    return state
