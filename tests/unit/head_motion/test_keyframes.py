"""Keyframe text: what it means, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from dawn_model.head_motion.keyframes import Keyframe, keyframe_blinks, keyframe_curve, parse_keyframes

SECONDS = 4
FRAMES = 25 * SECONDS


def parse(text: str) -> tuple[Keyframe, ...]:
    return parse_keyframes(text, FRAMES)


def test_the_example_of_the_tooltip():
    keyframes = parse("1.5s yaw=10 blink=1; 3s yaw=0")
    assert keyframes == (Keyframe(1.5, {"yaw": 10, "blink": 1}), Keyframe(3, {"yaw": 0}))
    assert keyframe_blinks(keyframes) == [(1.5, 1)]
    assert keyframe_curve(keyframes, "pitch", FRAMES) is None


@pytest.mark.parametrize(
    "text",
    [
        "1s yaw=-5, pitch=2.5\n40f eyes=0",
        " 1 yaw = -5 pitch= +2.5 ;; 1.6s eyes=0 ;",
        "# a comment; 9s wrong\n1.0s yaw=-5e0 pitch=2.5 # 5s\n\n1.6 eyes=.0\n",
        "1s yaw=-5; 1s pitch=2.5; 40f eyes=0",
    ],
)
def test_ways_to_write_the_same(text):
    merged: dict[float, dict[str, float]] = {}
    for key in parse(text):
        merged.setdefault(key.time, {}).update(key.values)
    assert merged == {1.0: {"yaw": -5, "pitch": 2.5}, 1.6: {"eyes": 0}}


@pytest.mark.parametrize("text", ["", "  \n ; ;\n", "# nothing"])
def test_no_keyframes(text):
    assert parse(text) == ()


def test_a_curve_passes_through_its_keyframes_smoothly():
    curve = keyframe_curve(parse("1s yaw=10; 2s yaw=10; 3s yaw=-20"), "yaw", FRAMES)
    assert curve.dtype == torch.float32 and curve.shape == (FRAMES,)
    assert curve[[0, 25, 37, 50, 75, 99]].tolist() == [0, 10, 10, 10, -20, -20], "starts at 0, holds its end"
    assert curve.max() == 10 and curve.min() == -20, "never beyond its keyframes"
    steps = curve.diff()
    assert (steps[:25] > 0).all() and (steps[50:75] < 0).all()
    assert steps.diff().abs().max() < 0.3, "a corner would be 0.4 or more"


def test_a_steady_rise_does_not_stop_at_every_keyframe():
    curve = keyframe_curve(parse("0s roll=0; 1s roll=10; 2s roll=20; 3s roll=30"), "roll", FRAMES)
    steps = curve.diff()[12:60]
    assert steps.min() > 0.3 and steps.max() < 0.55


def test_one_keyframe_at_the_start_holds_for_all():
    assert (keyframe_curve(parse("0s pitch=-7"), "pitch", FRAMES) == -7).all()


def test_eyes_start_open():
    curve = keyframe_curve(parse("2s eyes=0"), "eyes", FRAMES)
    assert curve[0] == 1 and curve[50] == 0 and curve[99] == 0


def test_a_keyframe_on_the_end_is_inside():
    assert parse("4s yaw=1")[0].time == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2s yaw=1; 1s yaw=2", r"line 1 \('1s yaw=2'\): 1 s is out of order, it comes after 2 s"),
        (
            "1s yaw=1\n\n4.1s yaw=2",
            r"line 3 \('4.1s yaw=2'\): 4.1 s is beyond the end; the clip lasts 4.00 s",
        ),
        ("101f yaw=2", r"4.04 s is beyond the end"),
        ("1s jaw=1", r"line 1 .*unknown axis 'jaw'\. Use yaw, pitch, roll, eyes, blink"),
        ("1s Yaw=1", r"unknown axis 'Yaw'"),
        ("0s yaw=1\n1s yaw=ten", r"line 2 \('1s yaw=ten'\): yaw=ten is not a number\. Write for example"),
        ("1s yaw=nan", r"yaw=nan is not a number"),
        ("1s yaw=inf", r"yaw=inf is not a number"),
        ("1s yaw=1_0", r"yaw=1_0 is not a number"),
        ("1s yaw=", r"yaw= is not a number"),
        ("1s yaw=1,5", r"'5' sets nothing, it has no '='"),
        ("soon yaw=1", r"the time 'soon' is not a number"),
        ("1m yaw=1", r"the time '1m' is not a number"),
        ("-1s yaw=1", r"the time must not be negative"),
        ("yaw=1", r"the time 'yaw=1' is not a number"),
        ("1s", r"line 1 \('1s'\): nothing is set at this time"),
        ("1s yaw", r"'yaw' sets nothing, it has no '='"),
        ("1s yaw=1 yaw=2", r"yaw is set twice\. Keep one"),
        ("1s yaw=1; 1s yaw=2", r"yaw is set twice at 1 s"),
        ("1s yaw=91", r"yaw=91 is out of range\. Use -90 to 90"),
        ("1s blink=1.5", r"blink=1.5 is out of range\. Use 0 to 1"),
        ("1s eyes=-1", r"eyes=-1 is out of range\. Use 0 to 2"),
        ("1s yaw=" + 20_000 * "9" + "x", r"yaw=9+ is not a number"),
        (20_000 * "1" + "x yaw=1", r"the time '1+ is not a number"),
    ],
)
def test_what_is_refused_names_its_line(text, message):
    with pytest.raises(ValueError, match=rf"^keyframes: .*{message}"):
        parse(text)
