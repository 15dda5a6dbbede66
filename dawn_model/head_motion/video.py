"""Head motion and blinks of a filmed face, at 25 frames a second, and how another face takes them over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..face.landmarker import Face, FaceLandmarker
from ..face.state import face_state
from ..structures import FPS, FaceState, HeadMotion
from .length import resample_track

REFERENCES = ("average", "first frame", "absolute")
"""What of a track is taken for the portrait's own pose: its average, its first frame, or nothing."""

_PRESENCE = 0.5
_THOROUGH_EVERY = 0.5
"""Seconds between searches for small faces while there is none: they take many times longer."""

_CLOSEST = 0.5 / FPS - 1e-3
"""Seconds between two frames that are looked at: of 60 frames a second every second one is enough."""

_OPEN_QUANTILE = 0.8
"""Eyes are open most of the time: this quantile of the eye-aspect ratio is how this face holds them open."""


@dataclass(frozen=True)
class FilmedMotion:
    """motion: of the frames at 25 a second; filmed: frames that were looked at; without_face: of those, the
    frames that showed no face, whose pose comes from the frames around them."""

    motion: HeadMotion
    filmed: int
    without_face: int


def _centre(face: Face) -> Tensor:
    return (face.box[:2] + face.box[2:]) / 2


class _Follower:
    """The same face from picture to picture; after it was lost, the one nearest to where it was."""

    def __init__(self, landmarker: FaceLandmarker, threshold: float):
        self._landmarker, self._threshold = landmarker, threshold
        self._face: Face | None = None
        self._last_seen: Face | None = None
        self._thorough_again = -math.inf  # the time from which small faces are searched for as well

    def look(self, time: float, picture: Tensor) -> Face | None:
        if self._face is not None:
            self._face = self._landmarker.follow(picture, self._face)
        if self._face is None or not self._face.presence >= _PRESENCE:  # not `<`: it may be NaN
            self._face = self._search(time, picture)
        self._last_seen = self._face or self._last_seen
        return self._face

    def _search(self, time: float, picture: Tensor) -> Face | None:
        thorough = time >= self._thorough_again
        found = self._landmarker(picture, self._threshold, small_faces=thorough)
        if thorough:
            self._thorough_again = -math.inf if found else time + _THOROUGH_EVERY
        if not found or self._last_seen is None:
            return found[0] if found else None
        return min(found, key=lambda face: float((_centre(face) - _centre(self._last_seen)).norm()))


def film_head_motion(
    landmarker: FaceLandmarker,
    frames: Iterable[tuple[float, Tensor]],
    threshold: float = 0.5,
    longest: int | None = None,
    on_frame: Callable[[float], None] | None = None,
) -> FilmedMotion:
    """Follow the largest face of a video.

    Args:
        frames: (time in seconds, picture [H, W, 3] in 0..1) in order; read one by one, none is kept.
        threshold: least score of the detector.
        longest: how many frames at 25 a second are wanted; what comes later is not looked at.
        on_frame: called with how many seconds of the video have been looked at, after every frame.

    Raises:
        ValueError: no frame, or none with a face.
    """
    times: list[float] = []
    states: list[FaceState | None] = []
    follower = _Follower(landmarker, threshold)
    for time, picture in frames:
        if times and time - times[-1] < _CLOSEST:
            continue
        face = follower.look(time, picture)
        times.append(time)
        states.append(face_state(face.points, *picture.shape[:2]) if face else None)
        if on_frame is not None:
            on_frame(time - times[0])
        if longest is not None and time - times[0] >= (longest - 1) / FPS:
            break
    seen = [index for index, state in enumerate(states) if state is not None]
    if not states:
        raise ValueError("the video has no frames")
    if not seen:
        raise ValueError(
            f"no face found in any of the {len(states)} frames. Use a video in which a face is seen from the "
            "front and fills a good part of the picture, or lower `threshold`"
        )
    start = times[0]
    seen_times = torch.tensor([times[index] - start for index in seen], dtype=torch.float64)
    length = max(1, int((times[-1] - start) * FPS + 1e-6) + 1)
    tracks = (torch.stack([getattr(states[index], name) for index in seen]) for name in ("pose", "blink"))
    motion = HeadMotion(*(resample_track(track.float(), seen_times, length) for track in tracks))
    return FilmedMotion(motion, len(states), len(states) - len(seen))


def onto_portrait(motion: HeadMotion, rest: FaceState, reference: str) -> HeadMotion:
    """Another face's track as this portrait would do it, float32 on the CPU.

    With a reference, angles and position move from the portrait's own by as much as they moved from the
    reference, and sizes and eye openness by the same factor, so that narrow eyes stay narrow. "absolute" keeps
    the track as it is.

    Raises ValueError for an unknown reference.
    """
    pose, blink = motion.pose.float().cpu(), motion.blink.float().cpu()
    if reference not in REFERENCES:
        raise ValueError(f"unknown reference {reference!r}; use one of {', '.join(REFERENCES)}")
    if reference == "absolute":
        return HeadMotion(pose.clone(), blink.clone())
    zero = pose[0] if reference == "first frame" else pose.median(0).values
    rest_pose = rest.pose.float().cpu()
    moved = rest_pose + (pose - zero)
    scale = rest_pose[3] * pose[:, 3] / zero[3].clamp(min=1e-9)
    open_eyes = torch.quantile(blink, _OPEN_QUANTILE, dim=0).clamp(min=1e-3)
    return HeadMotion(
        torch.cat([moved[:, :3], scale[:, None], moved[:, 4:]], dim=1),
        rest.blink.float().cpu() * (blink / open_eyes),
    )
