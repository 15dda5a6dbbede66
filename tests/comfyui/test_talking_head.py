"""DAWN Talking Head: the staged nodes in one, cached stage by stage."""

from __future__ import annotations

import pytest
import torch
from comfy_harness import NodeFailed, PromptRejected
from talking_head import change, sound

from dawn_model.audio.waveform import align_waveform


@pytest.fixture
def simple(head):
    """The loaders and the one node."""
    inputs = {
        "model": ["model", 0], "image": ["image", 0], "audio": ["sound", 0], "audio_encoder": ["encoder", 0],
        "paste_back": True, "size": 1024, "head_motion": "natural", "blink": "keep", "rest_in_silence": True, "seed": 1,
    }  # fmt: skip
    return {
        **{name: head[name] for name in ("image", "sound", "model", "encoder")},
        "simple": {"class_type": "DawnTalkingHead", "inputs": inputs},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["simple", 0]}},
    }


def ran_inside(run) -> int:
    """How many of the stages executed."""
    return len([name for name in run.executed if name.startswith("simple.")])


def test_a_video_with_its_frames_sound_and_rate(comfy, simple, astronaut):
    run = comfy.run(simple)
    video, images, audio, fps = (run.output("simple", slot) for slot in range(4))
    assert images.shape == (10, 512, 512, 3) and fps == 25.0
    assert torch.equal(audio["waveform"][0], align_waveform(sound(0.4), 16000, 10))
    parts = video.get_components()
    assert torch.equal(parts.images, images) and parts.frame_rate == 25
    assert torch.equal(parts.audio["waveform"], audio["waveform"])
    still = (images - astronaut).abs().amax(dim=(0, 3)) == 0
    assert 0.5 < still.float().mean() < 0.99


def test_it_is_the_staged_nodes_and_nothing_else(comfy, simple, head):
    """With the same settings the staged graph gives the same frames."""
    small = change(simple, "simple", rest_in_silence=False)
    expected = comfy.run(small).output("simple", 1)
    staged = change(change(head, "motion", steps=20), "speech")
    widgets = {
        "region": "square", "feather": 0.15, "colour_match": 1.0, "detail": 1.0, "result": "picture",
        "longest_side": 1024,
    }  # fmt: skip
    wires = {"portrait": ["portrait", 0], "images": ["frames", 0], "motion": ["motion", 0]}
    staged["pasted"] = {"class_type": "DawnPasteBack", "inputs": {**wires, **widgets}}
    run = comfy.run(change(staged, "show", source=["pasted", 0]))
    assert torch.equal(run.output("pasted"), expected)


def test_every_stage_is_cached(comfy, simple):
    """What runs again after a change, counted by what ComfyUI reports as executing."""

    comfy.forget()
    assert ran_inside(comfy.run(simple)) == 8, "seven stages and the video"
    assert comfy.run(simple).executed == []
    assert ran_inside(comfy.run(change(simple, "simple", size=128))) == 2, "pasting and the video"
    comfy.run(simple)
    assert ran_inside(comfy.run(change(simple, "simple", seed=2))) == 6, "neither portrait nor speech"
    comfy.run(simple)
    assert ran_inside(comfy.run(change(simple, "simple", rest_in_silence=False))) == 7, "all but the portrait"
    comfy.run(simple)
    calm = change(simple, "simple", head_motion="calm")
    assert ran_inside(comfy.run(calm)) == 5, "from the edited pose on"


def test_presets_of_head_and_eyes_are_those_of_the_edit_node(comfy, simple):
    """Held head and eyes give other frames than moving ones, and another kind of blinks too."""
    natural = comfy.run(simple).output("simple", 1)
    for settings in ({"head_motion": "lips only"}, {"blink": "none"}):
        assert not torch.equal(comfy.run(change(simple, "simple", **settings)).output("simple", 1), natural)
    with pytest.raises((NodeFailed, PromptRejected), match="sleepy"):
        comfy.run(change(simple, "simple", head_motion="sleepy"))


def test_the_head_alone(comfy, simple):
    images = comfy.run(change(simple, "simple", paste_back=False, size=150)).output("simple", 1)
    assert images.shape == (10, 150, 150, 3)


@pytest.mark.parametrize(
    ("inputs", "value", "message"),
    [
        ("image", torch.full((1, 64, 64, 3), 0.5), r"No face found in the picture \(64×64\)"),
        (
            "image",
            torch.full((3, 64, 64, 3), 0.5),
            r"image: 3 arrived, and DAWN Talking Head makes one video",
        ),
        ("audio", None, r"audio: nothing arrived\. The file may have no sound track"),
    ],
)
def test_errors_of_a_stage_show_on_the_node(comfy, simple, given, inputs, value, message):
    other = given.image(value) if inputs == "image" else given.audio(value)
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(change({**simple, "other": other}, "simple", **{inputs: ["other", 0]}))
    assert failure.value.node == "simple"
    assert len(comfy.run(simple).output("simple", 1)) == 10
