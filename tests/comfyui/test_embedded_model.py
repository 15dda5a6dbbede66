"""The model that comes with the plugin, in a real ComfyUI: nothing to download, nothing to choose."""

from __future__ import annotations

import pytest
from comfy_harness import NodeFailed
from talking_head import change, show

from dawn_model.checkpoints.checkpoint import EMBEDDED_MODEL

NANO = "dawn-nano (built in)"


@pytest.fixture(scope="module")
def nano(head):
    """The graph as a newcomer has it: the loader's default, no audio encoder."""
    prompt = change(head, "model", model=NANO)
    inputs = {key: value for key, value in prompt["speech"]["inputs"].items() if key != "audio_encoder"}
    prompt = {**prompt, "speech": {**prompt["speech"], "inputs": inputs}}
    del prompt["encoder"]
    return prompt


def test_it_is_the_loaders_default(comfy):
    (socket,) = [s for s in comfy.node_class("DawnLoadModel").define_schema().inputs if s.id == "model"]
    assert socket.default == socket.options[0] == NANO
    assert EMBEDDED_MODEL.is_file()


def test_it_needs_no_audio_encoder(comfy, nano, astronaut):
    run = comfy.run(nano)
    images, audio, _ = (run.output("frames", slot) for slot in range(3))
    assert images.shape == (10, 256, 256, 3)
    assert audio["waveform"].shape[-1] == 6400
    crop = run.output("portrait").at(256)[0][0].movedim(0, -1)
    assert (images - crop).abs().mean() < 0.1, "this is not the astronaut any more"
    assert (images[1:] - images[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0.01, "a frame stands still"


def test_an_audio_encoder_that_is_not_needed_does_no_harm(comfy, head, nano):
    with_encoder = {**nano, "encoder": head["encoder"]}
    with_encoder = change(with_encoder, "speech", audio_encoder=["encoder", 0])
    one, two = (comfy.run(show(prompt, "speech")).output("speech") for prompt in (nano, with_encoder))
    assert (one.features.features == two.features.features).all()


def test_other_models_ask_for_theirs(comfy, nano):
    prompt = change(nano, "model", model="tiny-128.safetensors")
    with pytest.raises(
        NodeFailed, match=r"audio_encoder: tiny-128 needs HuBERT-large.*DAWN Load Audio Encoder"
    ):
        comfy.run(show(prompt, "speech"))
