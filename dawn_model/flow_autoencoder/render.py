"""Motion latents → frames, a few at a time (docs/model.md, "A clip, in order")."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..structures import NOT_FINITE, MotionLatents
from .autoencoder import FlowAutoencoder, SourceFeatures


def render_frames(
    autoencoder: FlowAutoencoder,
    source: SourceFeatures,
    latents: MotionLatents,
    frames_per_slice: int = 4,
    callback: Callable[[int, int], None] | None = None,
    out: Tensor | None = None,
    start: int = 0,
) -> Tensor:
    """Decode a clip.

    Frames do not depend on each other here: the slice decides about memory and speed only. A caller who
    runs out of memory goes on with a smaller slice from the last `done` it was told, into the same `out`.

    Args:
        source:           of one portrait, `autoencoder.encode`
        frames_per_slice: how many frames are decoded at once
        callback:         called as callback(done, total) after every slice; may raise to stop
        out:              where to write, [F, S, S, 3], on any device; made on the CPU when not given
        start:            the first frame to make

    Returns `out`: RGB in 0..1, float32 when made here, not rounded to 8 bits.

    Raises ValueError when `frames_per_slice` is not positive, or the network's numbers overflowed.
    """
    if frames_per_slice < 1:
        raise ValueError(f"frames_per_slice must be at least 1, got {frames_per_slice}")
    total = len(latents)
    if out is None:
        out = torch.empty(total, *source.picture.shape[-2:], 3)
    device = source.picture.device
    for begin in range(start, total, frames_per_slice):
        end = min(begin + frames_per_slice, total)
        part = latents.part(slice(begin, end)).to(device)
        frames = autoencoder.decode(source, part.flow, part.occlusion, part.shut)
        if not frames.isfinite().all():
            raise ValueError(NOT_FINITE.format("rendered frames"))
        out[begin:end] = frames.clamp_(0, 1).movedim(1, -1)
        if callback is not None:
            callback(end, total)
    return out
