"""Sampled motion on disk: one safetensors file that can be rendered again with the same model and any portrait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .audio.waveform import samples_until
from .structures import FPS, MotionLatents
from .whole_file import whole_file

FORMAT = "dawn-motion-1"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
"""fp16 moves a point by 0.03 pixels of a 128-pixel picture at most."""


@dataclass(frozen=True)
class MotionFile:
    """latents: of the whole clip; waveform [C, T] and rate: its sound, of the same length;

    model_name, latent_size: of the model that sampled it, and the only one that can render it.
    """

    latents: MotionLatents
    waveform: Tensor
    rate: int
    model_name: str
    latent_size: int


def write_motion(
    path: Path, motion: MotionFile, precision: str = "fp32", extra: Mapping[str, str] | None = None
) -> None:
    """Write a motion file; `extra` is metadata that others may read, such as the workflow.

    Raises ValueError for an unknown precision, and when the file can not be written: then nothing is left of it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    tensors = {
        "flow": motion.latents.flow.to("cpu", dtype),
        "occlusion": motion.latents.occlusion.to("cpu", dtype),
        "waveform": motion.waveform.to("cpu", torch.float32),
    }
    if motion.latents.shut is not None:
        tensors["shut"] = motion.latents.shut.to("cpu", dtype)
    metadata = {
        **(extra or {}),
        "format": FORMAT,
        "model": motion.model_name,
        "latent_size": str(motion.latent_size),
        "sample_rate": str(motion.rate),
        "fps": str(FPS),
        "frames": str(len(motion.latents)),
    }
    with whole_file(path) as partial:
        # Copies, because a range of frames is a view and safetensors would refuse or write more than it.
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, partial, metadata)


def read_motion(path: Path) -> MotionFile:
    """Raises ValueError that names the file when it is damaged, of another kind, or contradicts itself."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(
                    f"{path.name} is no motion file of this plugin (format {FORMAT}). "
                    "DAWN Save Motion writes them"
                )
            flow, occlusion, waveform = (file.get_tensor(name) for name in ("flow", "occlusion", "waveform"))
            shut = file.get_tensor("shut") if "shut" in file.keys() else None  # noqa: SIM118
        rate, size = (_whole(metadata, name) for name in ("sample_rate", "latent_size"))
        model_name, fps = metadata["model"], metadata["fps"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path.name} can not be read: it is damaged or incomplete ({error}). Save the motion again"
        ) from error
    except OSError as error:
        raise ValueError(f"{path.name} can not be read: {error.strerror or error}") from error
    frames = len(flow)
    problems = {
        f"it is for {fps} frames a second, this version makes {FPS}": fps != str(FPS),
        f"flow is {list(flow.shape)}": frames == 0 or flow.shape != (frames, size, size, 2),
        f"occlusion is {list(occlusion.shape)}": occlusion.shape != (frames, 1, size, size),
        "it says of other frames how far lips meet": shut is not None and shut.shape != (frames,),
        f"its sound is {list(waveform.shape)} at {rate} Hz": waveform.ndim != 2
        or rate <= 0
        or abs(waveform.shape[-1] - samples_until(frames, rate)) > 1,
        "it holds values that are not numbers": not all(
            tensor.isfinite().all()
            for tensor in (flow, occlusion, waveform, *([] if shut is None else [shut]))
        ),
    }
    found = [problem for problem, present in problems.items() if present]
    if found:
        raise ValueError(f"{path.name} can not be used: {found[0]} ({frames} frames of {size}×{size})")
    latents = MotionLatents(flow, occlusion, shut).to(torch.float32)
    return MotionFile(latents, waveform.float(), rate, model_name, size)


def _whole(metadata: Mapping[str, str], name: str) -> int:
    """Raises KeyError also for what is no number."""
    if not metadata[name].isdecimal():
        raise KeyError(name)
    return int(metadata[name])
