"""Makes a track of head and eyes as long as the speech."""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures import FPS, HeadMotion

LENGTH_MODES = ("hold", "loop", "mirror", "cut")
"""What a track that is too short does: hold its last frame, start again, run back and forth, or be refused.
One that is too long is cut at the end of the speech in every mode."""

_SEAM = 0.4
"""Seconds in which a loop gets from where it ended to where it starts."""


def fit_length(motion: HeadMotion, frames: int, mode: str) -> HeadMotion:
    """The track with exactly `frames` frames, float32 on the CPU.

    Raises ValueError for an unknown mode, an empty track, and one too short for mode "cut".
    """
    length = len(motion)
    if mode not in LENGTH_MODES:
        raise ValueError(f"unknown way to fit the length {mode!r}; use one of {', '.join(LENGTH_MODES)}")
    if length == 0:
        raise ValueError("the track of head and eyes is empty: it has no frames")
    pose, blink = motion.pose.float().cpu(), motion.blink.float().cpu()
    if length >= frames:
        return HeadMotion(pose[:frames].clone(), blink[:frames].clone())
    if mode == "cut":
        raise ValueError(
            f"the track lasts {length / FPS:.2f} s ({length} frames) and the speech {frames / FPS:.2f} s ({frames} "
            "frames). Choose hold, loop or mirror to make it last, or shorten the speech"
        )
    frame = torch.arange(frames)
    if mode == "hold":
        index = frame.clamp(max=length - 1)
    elif mode == "loop":
        index = frame % length
    else:
        phase = frame % max(1, 2 * (length - 1))
        index = torch.minimum(phase, 2 * (length - 1) - phase)
    pose, blink = pose[index], blink[index]
    if mode == "loop":
        pose, blink = (_without_jumps(track, length) for track in (pose, blink))
    return HeadMotion(pose, blink)


def resample_track(track: Tensor, times: Tensor, frames: int) -> Tensor:
    """Values [N, C] at rising times [N] in seconds → [frames, C] at 25 frames a second, linear, ends held."""
    times = times.double()
    at = torch.arange(frames, dtype=torch.float64) / FPS
    after = torch.searchsorted(times, at).clamp(1, max(1, len(times) - 1))
    before = after - 1
    after = after.clamp(max=len(times) - 1)
    gap = times[after] - times[before]
    share = ((at - times[before]) / gap.clamp(min=1e-9)).clamp(0, 1)[:, None]
    return torch.lerp(track[before].double(), track[after].double(), share).float()


def _without_jumps(track: Tensor, length: int) -> Tensor:
    """A repeated track [F, C] whose later passes start where the one before ended."""
    fade = 1 - torch.linspace(0, 1, round(_SEAM * FPS) + 1)[1:]
    fade = (fade**2 * (3 - 2 * fade))[:, None]
    jump = track[length - 1] - track[0]
    track = track.clone()
    for start in range(length, len(track), length):
        seam = track[start : start + min(len(fade), length)]
        seam += fade[: len(seam)] * jump
    return track
