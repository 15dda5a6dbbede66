"""A short video of a rendered head with known pose and blinks: an example and a test's truth (`media/videos`).

    python -m training.clips.make_pose_clip media/videos/head_turns

writes `head_turns.mp4` at 30 frames a second and `head_turns.csv`: per frame the time, the head's turn relative
to straight ahead, as seen on the screen (+ right, up, clockwise), and how far the lids are shut.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..people.head import HeadMesh, random_person
from ..people.renderer import View, posed, rotation, shade, shrink, surface_of
from .scenario import smooth_noise

FRAME_RATE, SECONDS, SIZE, DRAWN = 30, 10, 256, 512
SWING = (5.0, 4.5, 2.0)
"""Degrees; the furthest turn is two to three times as far, and dawn-nano tears hair that turns further."""
BLINKS_EVERY = 0.95
_BACKDROP = np.array([0.52, 0.58, 0.64])


def pose_and_lids(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Yaw, pitch, roll of the renderer [F, 3], lids [F] and the moments of ten blinks in seconds."""
    rng = np.random.default_rng([seed, 5])
    frames = FRAME_RATE * SECONDS
    curves = [
        swing * smooth_noise(rng, frames, seconds)
        for swing, seconds in zip(SWING, (1.6, 1.3, 1.5), strict=True)
    ]
    time = np.arange(frames) / FRAME_RATE
    moments = 0.5 + BLINKS_EVERY * np.arange(10) + rng.uniform(-0.12, 0.12, 10)
    lids = np.max([np.exp(-(((time - moment) / 0.08) ** 4)) for moment in moments], axis=0)
    return np.stack(curves, axis=1), lids, moments


def render(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [F, SIZE, SIZE, 3] uint8, pose as seen [F, 3] and lids [F]."""
    mesh = HeadMesh()
    person = random_person(mesh, np.random.default_rng([seed, 4]))
    poses, lids, _ = pose_and_lids(seed)
    frames = []
    for pose, shut in zip(poses, lids, strict=True):
        units = {"eyeBlinkLeft": shut, "eyeBlinkRight": shut}
        surface = surface_of(person, posed(mesh, person, units), rotation(*pose), View(1.25), DRAWN)
        picture = shade(person, surface) + _BACKDROP * ~surface.cover[..., None]
        frames.append((shrink(picture, DRAWN // SIZE).clip(0, 1) * 255 + 0.5).astype(np.uint8))
    return np.stack(frames), poses * [1, -1, -1], lids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    frames, poses, lids = render(options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with av.open(options.out.with_suffix(".mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "26", "preset": "veryslow"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    rows = np.column_stack([np.arange(len(poses)) / FRAME_RATE, poses, lids])
    np.savetxt(
        options.out.with_suffix(".csv"), rows, "%.3f", ",", header="time,yaw,pitch,roll,lids", comments=""
    )


if __name__ == "__main__":
    main()
