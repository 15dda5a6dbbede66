"""The demo's last step does not take a file without moving pictures and sound for a success."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV comes with ComfyUI")

import demo  # noqa: E402
from queue_workflow import WorkflowError  # noqa: E402


def write_video(path, with_sound: bool):
    with av.open(str(path), "w") as video:
        pictures = video.add_stream("libx264", rate=25)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = video.add_stream("aac", rate=16000) if with_sound else None
        for level in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * level, np.uint8))
            video.mux(pictures.encode(frame))
        video.mux(pictures.encode())
        if sound:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.float32), "fltp", "mono")
            samples.sample_rate, samples.time_base = 16000, Fraction(1, 16000)
            video.mux(sound.encode(samples))
            video.mux(sound.encode())
    return path


def test_video_with_sound_is_described(tmp_path):
    description = demo.check_video(write_video(tmp_path / "good.mp4", True))
    assert description.startswith("5 frames of 64 × 64 at 25 per second, 0.")


def test_silent_video_is_refused(tmp_path):
    with pytest.raises(WorkflowError, match="lacks pictures or sound"):
        demo.check_video(write_video(tmp_path / "silent.mp4", False))
