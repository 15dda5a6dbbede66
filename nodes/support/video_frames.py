"""Frames of a VIDEO or IMAGE input with their times, one after the other, so that a long video fits anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import torch
from comfy_api.latest import InputImpl
from torch import Tensor

TimedFrames = Iterator[tuple[float, Tensor]]

_SAME_LENGTH = 0.2
"""Seconds by which a whole file and what its node says of it may differ."""


def timed_frames(video: Any, images_fps: float) -> TimedFrames:
    """(time in seconds, picture [H, W, 3] in 0..1) of each frame.

    images_fps: of an IMAGE batch; a VIDEO brings its own times.

    Raises ValueError when nothing arrived or a batch has no pictures.
    """
    if video is None:
        raise ValueError("video: nothing arrived. Connect a Load Video node, or images")
    if isinstance(video, Tensor):
        return _of_images(video, images_fps)
    if isinstance(video, InputImpl.VideoFromFile):
        source = video.get_stream_source()
        if abs(_file_seconds(source) - video.get_duration()) < _SAME_LENGTH:  # else a node has trimmed it
            return _of_file(video.get_stream_source())
    components = video.get_components()
    return _of_images(components.images, float(components.frame_rate))


def _of_images(images: Tensor, fps: float) -> TimedFrames:
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise ValueError(
            f"video: expected pictures [frames, height, width, 1, 3 or 4], got {list(images.shape)}. Connect a "
            "video or a batch of images"
        )
    if not fps > 0:
        raise ValueError(f"video: it says {fps:g} frames a second. Choose a file with a frame rate above 0")
    return ((index / fps, image[..., :3].expand(-1, -1, 3).float()) for index, image in enumerate(images))


def _of_file(source: Any) -> TimedFrames:
    with av.open(source) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        fps = float(stream.average_rate or 25)
        for index, frame in enumerate(container.decode(stream)):
            time = index / fps if frame.time is None else float(frame.time)
            # Phones film sideways and say by how much, counter-clockwise, the picture has to be turned.
            upright = np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90))
            yield time, torch.from_numpy(upright.copy()).float() / 255


def _file_seconds(source: Any) -> float:
    """What the whole file lasts; -1 where it does not say."""
    with av.open(source) as container:
        if not container.streams.video:
            raise ValueError("video: the file has no pictures. Choose a video file")
        return container.duration / av.time_base if container.duration is not None else -1.0
