"""What the browser's timeline is told of a track."""

from __future__ import annotations

import torch

from dawn_model.head_motion.edit import MotionEdit, edit_head_motion
from dawn_model.head_motion.keyframes import parse_keyframes
from dawn_model.head_motion.timeline import MOST_POINTS, timeline_curves
from dawn_model.structures import FaceState, HeadMotion

REST = FaceState(
    torch.tensor([-4.0, 3.0, 2.0, 0.0016, 60.0, 55.0]), torch.tensor([0.31, 0.29]), torch.zeros(4), 128, 128
)


def resting(frames: int) -> HeadMotion:
    return HeadMotion(REST.pose.repeat(frames, 1), REST.blink.repeat(frames, 1))


def test_what_keyframes_say_is_what_the_curves_show():
    keyframes = parse_keyframes("0s yaw=12 pitch=-4 roll=7 eyes=0.25", 50)
    curves = timeline_curves(edit_head_motion(resting(50), REST, MotionEdit(keyframes=keyframes)), REST)
    for axis, value in {"yaw": 12, "pitch": -4, "roll": 7, "eyes": 0.25}.items():
        assert len(curves[axis]) == 50
        assert all(abs(each - value) < 0.011 for each in curves[axis]), axis


def test_a_head_at_rest_is_zero_with_eyes_open():
    curves = timeline_curves(resting(3), REST)
    assert curves == {"yaw": [0.0] * 3, "pitch": [0.0] * 3, "roll": [0.0] * 3, "eyes": [1.0] * 3}


def test_a_long_clip_has_no_more_points_than_a_screen():
    assert {len(curve) for curve in timeline_curves(resting(10 * MOST_POINTS + 1), REST).values()} == {1364}


def test_eyes_that_the_portrait_has_shut_give_numbers():
    shut = FaceState(REST.pose, torch.tensor([0.04, 0.05]), torch.zeros(4), 128, 128)
    motion = HeadMotion(shut.pose.repeat(2, 1), shut.blink.repeat(2, 1))
    assert timeline_curves(motion, shut)["eyes"] == [0.0, 0.0]
