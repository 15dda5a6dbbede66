"""Somebody else's motion for a portrait: what the flow autoencoder sees in a video (arXiv 2410.13726, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from ..structures import FPS, MotionLatents
from .motion_estimator import MotionEstimator

_SAME_TIME = 1e-6
"""Seconds."""


def at_video_rate(timed: Iterable[tuple[float, Tensor]]) -> Iterator[Tensor]:
    """Pictures with their times in seconds, in order → the latest picture at every frame of 25 a second."""
    number, shown, shown_from = 0, None, 0.0
    for time, picture in timed:
        while shown is not None and number / FPS < time - _SAME_TIME:
            yield shown
            number += 1
        shown, shown_from = picture, time
    if shown is not None and number / FPS <= shown_from + _SAME_TIME:
        yield shown


def motion_of_pictures(
    estimator: MotionEstimator,
    source: Tensor,
    driving: Iterable[Tensor],
    at_once: int = 4,
    callback: Callable[[int], None] | None = None,
) -> MotionLatents:
    """How a portrait must move to look like every picture of a film.

    Args:
        source:   RGB [1, 3, S, S] in 0..1, on the estimator's device
        driving:  RGB [S, S, 3] in 0..1 each, framed like the source
        callback: called with how many pictures are done; may raise to stop

    Raises:
        ValueError: when there are no pictures.
    """
    pictures, flows, occlusions = iter(driving), [], []
    while part := list(islice(pictures, at_once)):
        batch = torch.stack(part).movedim(-1, 1).to(source)
        motion = estimator.estimate(source, batch)
        flows.append(motion.flow.float().cpu())
        occlusions.append(motion.occlusion.float().cpu())
        if callback:
            callback(sum(len(flow) for flow in flows))
    if not flows:
        raise ValueError("the film has no pictures")
    return MotionLatents(torch.cat(flows), torch.cat(occlusions))
