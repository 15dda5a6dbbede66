"""Edits how the head moves and the eyes blink, relative to how the portrait holds them.

In this order: scale, smooth, look at the camera, offset, keyframes and curves, limit; then the eyes. A neutral
edit gives back the very same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import FPS, FaceState, HeadMotion
from .axes import ANGLES, as_seen, shut_ratio
from .blinks import natural_blinks, shut_lids
from .keyframes import Keyframe, keyframe_blinks, keyframe_curve

BLINK_CHOICES = ("keep", "new", "none")
NO_LIMIT = 90.0

_LOOK_SECONDS = 2.0
"""Where the head looks is its motion without what is quicker than this."""

_SOFT_FROM = 0.8
"""A limit begins to act from this share of it on, so that a head slows down and does not hit a wall."""


@dataclass(frozen=True)
class Preset:
    """movement: share of the head's motion that is kept; smoothing in seconds; blinks: are there any?"""

    movement: float
    smoothing: float
    blinks: bool


PRESETS = {
    "natural": Preset(1.0, 0.0, True),
    "calm": Preset(0.5, 0.3, True),
    "still": Preset(0.0, 0.0, True),
    "lips only": Preset(0.0, 0.0, False),
}


@dataclass(frozen=True)
class AngleEdit:
    """scale of the motion; offset in degrees as seen; limit in degrees to either side of the portrait's pose."""

    scale: float = 1.0
    offset: float = 0.0
    limit: float = NO_LIMIT


@dataclass(frozen=True)
class MotionEdit:
    """yaw, pitch, roll: see AngleEdit
    shift_scale:        scale of the motion of size and position
    smoothing:          seconds; quicker motion of the head disappears
    camera_pull:        0..1, how far the slow part of yaw and pitch is turned back to the portrait's pose:
                        there its eyes meet the camera, and DAWN moves them with the head
    blink:              keep, new or none
    blink_strength:     0 none, 1 as it is
    blinks_per_minute, blink_seed: of new blinks
    keyframes:          see keyframes.py
    curves:             yaw, pitch, roll: degrees to add as seen; blink: 0..1 shut; each [F]
    """

    preset: str = "natural"
    yaw: AngleEdit = AngleEdit()
    pitch: AngleEdit = AngleEdit()
    roll: AngleEdit = AngleEdit()
    shift_scale: float = 1.0
    smoothing: float = 0.0
    camera_pull: float = 0.0
    blink: str = "keep"
    blink_strength: float = 1.0
    blinks_per_minute: float = 15.0
    blink_seed: int = 0
    keyframes: tuple[Keyframe, ...] = ()
    curves: dict[str, Tensor] = field(default_factory=dict)


def edit_head_motion(motion: HeadMotion, rest: FaceState, edit: MotionEdit) -> HeadMotion:
    """A new track of the same length, float32 on the CPU; the given one stays as it is.

    rest: of the portrait; its pose and eyes are where edits start from.

    Raises ValueError for an unknown preset or kind of blinks.
    """
    if edit.preset not in PRESETS:
        raise ValueError(f"unknown preset {edit.preset!r}; use one of {', '.join(PRESETS)}")
    if edit.blink not in BLINK_CHOICES:
        raise ValueError(f"unknown kind of blinks {edit.blink!r}; use one of {', '.join(BLINK_CHOICES)}")
    pose = _edit_pose(motion.pose.float().cpu(), rest, edit)
    return HeadMotion(pose, _edit_blink(motion.blink.float().cpu(), rest, edit))


def smooth(track: Tensor, seconds: float) -> Tensor:
    """Gaussian of that full width at half maximum over [F, C], without delay; ends are held."""
    if seconds <= 0:
        return track
    sigma = seconds * FPS / (2 * math.sqrt(2 * math.log(2)))
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    padded = F.pad(track.T[:, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum()).to(track)[None, None])[:, 0].T


def _edit_pose(pose: Tensor, rest: FaceState, edit: MotionEdit) -> Tensor:
    """[F, 6]. Additions and factors that are neutral change no bit."""
    preset, angles = PRESETS[edit.preset], (edit.yaw, edit.pitch, edit.roll)
    rest_pose = rest.pose.float().cpu()
    scales = preset.movement * pose.new_tensor([*(angle.scale for angle in angles), *3 * [edit.shift_scale]])
    pose = pose + (scales - 1) * (pose - rest_pose)
    pose = smooth(pose, max(edit.smoothing, preset.smoothing))
    if edit.camera_pull:
        look = smooth(pose - rest_pose, _LOOK_SECONDS)
        pull = pose.new_tensor([edit.camera_pull, edit.camera_pull, 0, 0, 0, 0])
        pose = pose - pull * look
    added = torch.zeros_like(pose)
    for column, (axis, angle) in enumerate(zip(("yaw", "pitch", "roll"), angles, strict=True)):
        added[:, column] += angle.offset
        curves = (keyframe_curve(edit.keyframes, axis, len(pose)), edit.curves.get(axis))
        for curve in curves:
            if curve is not None:
                added[:, column] += curve
    pose = pose + as_seen(added)
    limits = pose.new_tensor([angle.limit if angle.limit < NO_LIMIT else math.inf for angle in angles])
    departure = pose[:, :ANGLES] - rest_pose[:ANGLES]
    limited = rest_pose[:ANGLES] + _limit(departure, limits)
    beyond = departure.abs() > _SOFT_FROM * limits
    return torch.cat([torch.where(beyond, limited, pose[:, :ANGLES]), pose[:, ANGLES:]], dim=1)


def _limit(departure: Tensor, limits: Tensor) -> Tensor:
    """[F, 3] as it is up to the knee, then ever more slowly towards the limit [3]."""
    knee = _SOFT_FROM * limits
    room = (limits - knee).clamp(min=1e-9)
    excess = (departure.abs() - knee).clamp(min=0)
    return departure.sign() * (knee + room * (1 - torch.exp(-excess / room))).clamp(max=limits)


def _edit_blink(blink: Tensor, rest: FaceState, edit: MotionEdit) -> Tensor:
    """[F, 2]: the track's own blinks or none; then lids that shut on top of it."""
    frames, rest_blink = len(blink), rest.blink.float().cpu()
    blinks = keyframe_blinks(edit.keyframes)
    kind = edit.blink if PRESETS[edit.preset].blinks else "none"
    if kind == "keep":
        moved = (rest_blink + edit.blink_strength * (blink - rest_blink)).clamp(min=0)
        blink = blink if edit.blink_strength == 1 else moved
    else:
        blink = rest_blink.repeat(frames, 1)
    if kind == "new":
        strength = min(edit.blink_strength, 1.0)
        blinks += [
            (moment, strength)
            for moment, _ in natural_blinks(edit.blinks_per_minute, frames, edit.blink_seed)
        ]
    openness = 1 - shut_lids(blinks, frames)
    if "blink" in edit.curves:
        openness = openness * (1 - edit.curves["blink"].clamp(0, 1))
    eyes = keyframe_curve(edit.keyframes, "eyes", frames)
    openness = openness if eyes is None else openness * eyes
    shut = torch.minimum(shut_ratio(rest), blink)
    return torch.where(openness[:, None] == 1, blink, shut + openness[:, None] * (blink - shut))
