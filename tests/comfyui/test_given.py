"""What arrives over wires from nodes with an output of any type is refused in words, by every node alike."""

from __future__ import annotations

import numpy as np
import pytest
from comfy_harness import NodeFailed, PromptRejected
from talking_head import change, show


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        ("pose", "speech", None, r"speech: nothing arrived\. Connect DAWN Encode Audio"),
        ("motion", "model", "x", r"model: 'x' arrived\. Connect DAWN Load Model"),
        ("motion", "steps", 2.5, r"steps: expected a whole number, and 2\.5 arrived"),
        ("motion", "steps", 10**400, r"steps: a huge number arrived\. Choose 0 to 200"),
        ("motion", "eta", float("nan"), r"eta: no number arrived\. Choose 0 to 1"),
        ("motion", "guidance", [1], r"guidance: expected a number, and a list arrived"),
        ("portrait", "image", 7, r"image: expected pictures, and 7 arrived"),
        ("portrait", "shift_y", None, r"shift_y: expected a number, and nothing arrived"),
        ("speech", "silence_threshold", None, r"silence_threshold: expected a number, and nothing arrived"),
        ("model", "dtype", 7, r"dtype: expected one of its choices, and 7 arrived"),
    ],
)
def test_a_value_of_another_kind(comfy, head, given, node, name, value, message):
    prompt = change({**head, "wire": given.list_of([value])}, node, **{name: ["wire", 0]})
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(show(prompt, node))
    assert failure.value.node == node and failure.value.exception_type == "ValueError"


def test_numbers_of_numpy_are_numbers(comfy, head, given):
    wires = {"steps": given.list_of([np.int64(2)]), "eta": given.list_of([np.float32(0.5)])}
    prompt = change({**head, **wires}, "motion", steps=["steps", 0], eta=["eta", 0])
    assert comfy.run(show(prompt, "motion")).output("motion") is not None


def test_a_null_in_a_prompt_is_told_by_its_name(comfy, head):
    """ComfyUI drops such an input of a node that takes lists, and of what the node expands to."""
    inputs = {
        "model": ["model", 0], "audio_encoder": ["encoder", 0], "image": ["image", 0], "audio": None,
        "paste_back": False, "size": 256, "head_motion": "natural", "blink": "keep", "rest_in_silence": True,
        "seed": 1,
    }  # fmt: skip
    prompt = show({**head, "simple": {"class_type": "DawnTalkingHead", "inputs": inputs}}, "simple")
    with pytest.raises((NodeFailed, PromptRejected), match="audio"):
        comfy.run(prompt)
