"""Edits of head motion and blinks: neutral ones change nothing, all others what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawn_model.head_motion.axes import as_seen
from dawn_model.head_motion.blend import blend_head_motion
from dawn_model.head_motion.blinks import find_blinks, natural_blinks, shut_lids
from dawn_model.head_motion.edit import PRESETS, AngleEdit, MotionEdit, edit_head_motion, smooth
from dawn_model.head_motion.frame_numbers import frame_numbers
from dawn_model.head_motion.keyframes import parse_keyframes
from dawn_model.head_motion.length import LENGTH_MODES, fit_length, resample_track
from dawn_model.structures import FaceState, HeadMotion

FRAMES = 200
REST = FaceState(
    torch.tensor([-4.0, 3.0, 2.0, 0.0016, 60.0, 55.0]), torch.tensor([0.31, 0.29]), torch.zeros(4), 128, 128
)


def track(frames: int = FRAMES, seed: int = 0) -> HeadMotion:
    """Slow and quick motion round the portrait's pose, with two blinks."""
    generator = torch.Generator().manual_seed(seed)
    noise = smooth(torch.randn(frames, 6, generator=generator), 0.8)
    noise += 0.02 * torch.randn(frames, 6, generator=generator)
    pose = REST.pose + noise / noise.std(0) * torch.tensor([6, 3, 2, 1e-5, 1.2, 2])
    lids = shut_lids([(1.0, 1.0), (5.0, 0.9)], frames)
    return HeadMotion(pose, (1 - 0.8 * lids)[:, None] * REST.blink)


MOTION = track()


def edited(motion: HeadMotion = MOTION, **options) -> HeadMotion:
    """After an edit; checks what holds for all of them."""
    before = motion.pose.clone(), motion.blink.clone()
    result = edit_head_motion(motion, REST, MotionEdit(**options))
    assert torch.equal(motion.pose, before[0]) and torch.equal(motion.blink, before[1]), (
        "the input was changed"
    )
    for tensor, like in ((result.pose, motion.pose), (result.blink, motion.blink)):
        assert tensor.shape == like.shape and tensor.dtype == torch.float32 and tensor.device.type == "cpu"
        assert tensor.isfinite().all()
    return result


def seen(motion: HeadMotion) -> torch.Tensor:
    return as_seen(motion.pose)


def added(**options) -> torch.Tensor:
    """What an edit adds to yaw, pitch and roll as seen, [F, 3]."""
    return (seen(edited(**options)) - seen(MOTION))[:, :3]


def test_a_neutral_edit_changes_no_bit():
    wild = HeadMotion(20 * MOTION.pose, MOTION.blink)
    for motion in (MOTION, wild):
        result = edited(motion)
        assert torch.equal(result.pose, motion.pose) and torch.equal(result.blink, motion.blink)


def test_signs_are_those_a_person_sees():
    """3DDFA: positive yaw moves the nose to the left, pitch down, roll counter-clockwise."""
    result = edited(yaw=AngleEdit(offset=5), pitch=AngleEdit(offset=6), roll=AngleEdit(offset=7))
    assert torch.allclose(
        result.pose[:, :3] - MOTION.pose[:, :3], torch.tensor([-5.0, -6.0, -7.0]), atol=1e-5
    )
    assert torch.equal(result.pose[:, 3:], MOTION.pose[:, 3:])


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, -1.0])
def test_scale_is_about_the_portrait(scale):
    result = edited(pitch=AngleEdit(scale=scale))
    expected = REST.pose[1] + scale * (MOTION.pose[:, 1] - REST.pose[1])
    assert torch.allclose(result.pose[:, 1], expected, atol=1e-4)
    assert torch.equal(result.pose[:, [0, 2, 3, 4, 5]], MOTION.pose[:, [0, 2, 3, 4, 5]])


def test_shift_scale_holds_size_and_position():
    result = edited(shift_scale=0.0)
    assert torch.allclose(result.pose[:, 3:], REST.pose[3:].expand(FRAMES, 3), atol=1e-5)
    assert torch.equal(result.pose[:, :3], MOTION.pose[:, :3])


@pytest.mark.parametrize("limit", [0.0, 4.0, 10.0])
def test_a_limit_is_never_passed_and_stays_smooth(limit):
    keyframes = parse_keyframes("2s yaw=60; 4s yaw=-60", FRAMES)
    free = edited(keyframes=keyframes).pose[:, 0] - REST.pose[0]
    result = edited(yaw=AngleEdit(limit=limit), keyframes=keyframes).pose[:, 0] - REST.pose[0]
    assert result.abs().max() <= limit + 1e-5
    inside = free.abs() < 0.8 * limit
    assert torch.equal(result[inside], free[inside])
    assert (free.sign() * result >= 0).all()


def test_smoothing_takes_away_what_is_quick():
    result = edited(smoothing=1.0)
    assert result.pose[:, 0].diff().abs().max() < 0.3 * MOTION.pose[:, 0].diff().abs().max()
    assert torch.equal(result.blink, MOTION.blink), "blinks stay quick"
    ramp = torch.linspace(0, 30, FRAMES)[:, None]
    assert torch.allclose(smooth(ramp, 0.4)[30:-30], ramp[30:-30], atol=1e-4), "no delay"
    impulse = torch.zeros(101, 1)
    impulse[50] = 1
    blurred = smooth(impulse, 0.4)[:, 0]
    assert abs(float(blurred.sum()) - 1) < 1e-5
    assert abs(float(blurred[55] / blurred[50]) - 0.5) < 0.01, "0.4 s between the two half heights"


def test_smoothing_longer_than_the_clip():
    assert torch.isfinite(edited(track(3), smoothing=10.0).pose).all()


def test_the_camera_pull_keeps_the_head_where_the_portrait_looks_and_keeps_nods():
    drifting = HeadMotion(
        MOTION.pose + torch.linspace(0, 20, FRAMES)[:, None] * torch.eye(6)[0], MOTION.blink
    )
    pulled = edited(drifting, camera_pull=1.0)
    away = [smooth(motion.pose - REST.pose, 2.0)[:, :2].abs().mean(0) for motion in (drifting, pulled)]
    assert (away[1] < 0.35 * away[0]).all()
    quick = [motion.pose[:, 1] - smooth(motion.pose, 0.3)[:, 1] for motion in (drifting, pulled)]
    assert torch.corrcoef(torch.stack(quick))[0, 1] > 0.95
    assert torch.equal(pulled.pose[:, 2:], drifting.pose[:, 2:])
    half = edited(drifting, camera_pull=0.5)
    assert torch.allclose(half.pose, (drifting.pose + pulled.pose) / 2, atol=1e-4)


def test_keyframes_add_to_the_motion():
    held = added(keyframes=parse_keyframes("0s yaw=8 pitch=-3", FRAMES))
    assert torch.allclose(held, torch.tensor([8.0, -3, 0]), atol=1e-5)
    change = added(keyframes=parse_keyframes("2s roll=10; 4s roll=0", FRAMES))
    assert change[:, :2].abs().max() == 0
    assert abs(change[50, 2] - 10) < 1e-4 and change[150, 2].abs() < 1e-4


def test_curves_of_other_nodes_add_degrees():
    curve = torch.linspace(-5, 5, FRAMES)
    assert torch.allclose(added(curves={"pitch": curve})[:, 1], curve, atol=1e-5)


def test_presets():
    assert list(PRESETS) == ["natural", "calm", "still", "lips only"]
    departure = {name: (edited(preset=name).pose - REST.pose).abs().mean(0) for name in PRESETS}
    assert (departure["calm"] < 0.7 * departure["natural"]).all()
    for name in ("still", "lips only"):
        assert torch.allclose(edited(preset=name).pose, REST.pose.expand(FRAMES, 6), atol=1e-4)
    for name in ("natural", "calm", "still"):
        assert torch.equal(edited(preset=name).blink, MOTION.blink)
    assert torch.equal(edited(preset="lips only").blink, REST.blink.repeat(FRAMES, 1))
    assert torch.equal(edited(preset="lips only", blink="new").blink, REST.blink.repeat(FRAMES, 1))
    turned = edited(preset="lips only", keyframes=parse_keyframes("0s yaw=10; 1s blink=1", FRAMES))
    assert torch.allclose(turned.pose[:, 0], REST.pose[0] - 10, atol=1e-4)
    assert len(find_blinks(turned)) == 1


# --- eyes ---


def test_no_blinks_leaves_the_eyes_of_the_portrait():
    assert torch.equal(edited(blink="none").blink, REST.blink.repeat(FRAMES, 1))


def test_blink_strength():
    closed = (REST.blink - MOTION.blink).max()
    for strength in (0.0, 0.5):
        assert torch.allclose(
            (REST.blink - edited(blink_strength=strength).blink).max(), strength * closed, atol=1e-6
        )
    assert edited(blink_strength=2.0).blink.min() == 0


@pytest.mark.parametrize("rate", [0, 6, 15, 30, 60])
def test_new_blinks_come_at_their_rate(rate):
    minutes = 4
    motion = track(25 * 60 * minutes)
    result = edited(motion, blink="new", blinks_per_minute=rate)
    assert abs(len(find_blinks(result)) - rate * minutes) <= max(1, 0.12 * rate * minutes)
    assert torch.equal(result.pose, motion.pose)
    if rate:
        assert result.blink.min() < 0.07 and result.blink.median() > 0.28


def test_new_blinks_follow_the_seed_and_not_the_length():
    first = natural_blinks(15, 1000, seed=3)
    assert natural_blinks(15, 2000, seed=3)[: len(first)] == first
    assert natural_blinks(15, 1000, seed=4) != first
    assert natural_blinks(15, 1000, seed=2**64 - 1)
    gaps = np.diff([moment for moment, _ in natural_blinks(15, 25 * 600, seed=3)])
    assert gaps.std() > 0.5 and gaps.min() > 1


def test_a_blink_lasts_about_as_long_as_a_persons():
    lids = shut_lids([(2.0, 1.0)], 100)
    assert lids.max() == 1 and lids[50] == 1
    assert 3 <= int((lids > 0.5).sum()) <= 6 and 5 <= int((lids > 0).sum()) <= 9


def test_a_keyframe_blinks_at_its_moment_in_both_eyes():
    result = edited(blink="none", keyframes=parse_keyframes("3s blink=1; 6s blink=0.5", FRAMES))
    assert result.blink.argmin(0).tolist() == [75, 75]
    assert torch.allclose(result.blink[75], torch.tensor(0.06), atol=1e-6)
    assert torch.allclose(result.blink[150], (REST.blink + 0.06) / 2, atol=1e-6)
    assert find_blinks(result)[0][0] <= 75 < find_blinks(result)[0][1]


def test_eyes_stay_shut_until_they_are_opened():
    keyframes = parse_keyframes("1s eyes=1; 1.2s eyes=0; 4s eyes=0; 4.2s eyes=1.2", FRAMES)
    result = edited(blink="none", keyframes=keyframes)
    assert torch.allclose(result.blink[30:100], torch.tensor(0.06), atol=1e-6)
    assert (result.blink[105:] > REST.blink + 0.04).all()


def test_a_blink_curve_shuts_the_eyes_and_is_held_to_0_and_1():
    curve = torch.linspace(-1, 2, FRAMES)
    result = edited(blink="none", curves={"blink": curve})
    assert torch.equal(result.blink[0], REST.blink)
    assert torch.allclose(result.blink[-1], torch.tensor(0.06), atol=1e-6)


def test_eyes_that_are_shut_in_the_portrait_stay_shut():
    rest = FaceState(REST.pose, torch.tensor([0.04, 0.05]), REST.box, 128, 128)
    motion = HeadMotion(MOTION.pose, rest.blink.repeat(FRAMES, 1))
    edit = MotionEdit(blink="new", blinks_per_minute=40)
    assert torch.allclose(edit_head_motion(motion, rest, edit).blink, motion.blink)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "wild"}, "unknown preset 'wild'; use one of natural, calm, still, lips only"),
        ({"blink": "often"}, "unknown kind of blinks 'often'; use one of keep, new, none"),
        ({"blink": "new", "blinks_per_minute": -1}, "the rate must not be negative"),
    ],
)
def test_unknown_choices(options, message):
    with pytest.raises(ValueError, match=message):
        edited(**options)


# --- numbers of other nodes ---


@pytest.mark.parametrize(
    "value",
    [[1, 2.5, 3], [[1.0, 2.5, 3.0]], (1, 2.5, 3), np.array([1, 2.5, 3]), torch.tensor([[1], [2.5], [3]])],
)
def test_numbers_of_other_nodes(value):
    assert frame_numbers(value, 3, "yaw_curve").tolist() == [1, 2.5, 3]


@pytest.mark.parametrize("value", [2, 2.0, [2], [[2.0]], torch.tensor(2.0), np.float32(2), True + 1])
def test_a_single_number_holds_for_all_frames(value):
    assert frame_numbers(value, 4, "yaw_curve").tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], r"yaw_curve: 2 numbers arrived and the clip has 3 frames\. Send one number per frame"),
        ([], r"yaw_curve: 0 numbers arrived"),
        ([1, "2", 3], r"yaw_curve: expected numbers, one per frame, and got str '2'"),
        (None, r"yaw_curve: expected numbers.* got NoneType"),
        ([1, float("nan"), 3], r"yaw_curve: the number of frame 1 is NaN or infinite"),
    ],
)
def test_what_is_no_curve(value, message):
    with pytest.raises(ValueError, match=message):
        frame_numbers(value, 3, "yaw_curve")


# --- blending ---


def test_blending():
    a, b = track(50, seed=1), track(50, seed=2)
    half = blend_head_motion(a, b, 0.5, 0.25)
    assert torch.allclose(half.pose, (a.pose + b.pose) / 2, atol=1e-5)
    assert torch.allclose(half.blink, 0.75 * a.blink + 0.25 * b.blink)
    ends = blend_head_motion(a, b, 1.0, 0.0)
    assert torch.equal(ends.pose, b.pose) and torch.equal(ends.blink, a.blink)
    with pytest.raises(ValueError, match="pose_a has 50 frames and pose_b 49; they must be equal"):
        blend_head_motion(a, track(49), 0.5, 0.5)
    with pytest.raises(ValueError, match=r"blink_weight is 1\.5; use 0"):
        blend_head_motion(a, b, 0.5, 1.5)


# --- length ---


def ramp(frames: int) -> HeadMotion:
    values = torch.arange(frames, dtype=torch.float32)[:, None]
    return HeadMotion(values.repeat(1, 6), values.repeat(1, 2))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("hold", [0, 1, 2, 3, 3, 3, 3, 3]), ("mirror", [0, 1, 2, 3, 2, 1, 0, 1])],
)
def test_a_short_track_is_held_or_mirrored(mode, expected):
    result = fit_length(ramp(4), 8, mode)
    assert result.pose[:, 0].tolist() == expected and result.blink[:, 1].tolist() == expected


def test_a_loop_repeats_without_a_jump():
    once = track(60)
    looped = fit_length(once, 200, "loop")
    assert torch.equal(looped.pose[:60], once.pose)
    assert torch.equal(looped.pose[80:120], once.pose[20:60]), "after the seam it is the same again"
    longest_step = once.pose.diff(dim=0).abs().amax(0)
    jump = (once.pose[-1] - once.pose[0]).abs()
    assert (looped.pose.diff(dim=0).abs().amax(0) < longest_step + 0.25 * jump + 1e-6).all()


@pytest.mark.parametrize("mode", LENGTH_MODES)
def test_a_long_track_is_cut_and_an_exact_one_kept(mode):
    for frames in (4, 3):
        result = fit_length(ramp(4), frames, mode)
        assert result.pose[:, 0].tolist() == list(range(frames))
    source = ramp(4)
    fit_length(source, 4, mode).pose.zero_()
    assert source.pose[3, 0] == 3, "a copy"


@pytest.mark.parametrize("mode", ["hold", "loop", "mirror"])
def test_a_single_frame_lasts(mode):
    assert (fit_length(HeadMotion(torch.ones(1, 6), torch.ones(1, 2)), 7, mode).pose == 1).all()


def test_what_can_not_be_fitted():
    with pytest.raises(
        ValueError, match=r"lasts 0\.16 s \(4 frames\) and the speech 0\.20 s.*Choose hold, loop"
    ):
        fit_length(ramp(4), 5, "cut")
    with pytest.raises(ValueError, match="unknown way to fit the length 'stretch'; use one of hold"):
        fit_length(ramp(4), 5, "stretch")
    with pytest.raises(ValueError, match="empty"):
        fit_length(HeadMotion(torch.zeros(0, 6), torch.zeros(0, 2)), 5, "hold")


def test_resampling_is_linear_in_time():
    times = torch.tensor([0.0, 0.1, 0.25, 0.4])
    result = resample_track(times[:, None] * 10, times, 15)[:, 0]
    expected = (torch.arange(15) / 25).clamp(max=0.4) * 10
    assert torch.allclose(result, expected, atol=1e-5)
    assert resample_track(torch.ones(1, 3), torch.zeros(1), 4).shape == (4, 3)
