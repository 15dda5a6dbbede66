"""Motion on disk: the same after reading, and a clear word about every file that is not what it should be."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dawn_model.audio.waveform import samples_until
from dawn_model.motion_file import MotionFile, read_motion, write_motion
from dawn_model.structures import MotionLatents


@pytest.fixture
def motion():
    flow = torch.rand(10, 8, 8, 2) * 2 - 1
    latents = MotionLatents(flow[2:7], torch.rand(5, 1, 8, 8))
    return MotionFile(latents, torch.rand(2, samples_until(5, 44100)), 44100, "dawn-nano", 8)


@pytest.fixture
def file(tmp_path, motion):
    path = tmp_path / "clip.motion.safetensors"
    write_motion(path, motion, extra={"prompt": "{}"})
    return path


def test_what_was_written_is_read(file, motion):
    read = read_motion(file)
    assert torch.equal(read.latents.flow, motion.latents.flow)
    assert torch.equal(read.latents.occlusion, motion.latents.occlusion)
    assert torch.equal(read.waveform, motion.waveform)
    assert (read.rate, read.model_name, read.latent_size) == (44100, "dawn-nano", 8)
    assert [path.name for path in file.parent.iterdir()] == [file.name], "nothing else is left behind"
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["prompt"] == "{}" and opened.metadata()["frames"] == "5"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_how_far_lips_meet_is_kept(tmp_path, motion, precision):
    shut = torch.tensor([0.0, 0.25, 1.0, 0.5, 0.0])
    path = tmp_path / "clip.motion.safetensors"
    write_motion(
        path, dataclasses.replace(motion, latents=dataclasses.replace(motion.latents, shut=shut)), precision
    )
    assert torch.equal(read_motion(path).latents.shut, shut)
    rewrite(path, shut=shut[:4])
    with pytest.raises(ValueError, match="it says of other frames how far lips meet"):
        read_motion(path)


def test_half_precision_halves_the_latents_and_moves_nothing(tmp_path, motion, file):
    half = tmp_path / "half.motion.safetensors"
    write_motion(half, motion, "fp16")
    latents = motion.latents.flow.numel() + motion.latents.occlusion.numel()
    assert file.stat().st_size - half.stat().st_size == pytest.approx(2 * latents, abs=64)
    read = read_motion(half)
    assert read.latents.flow.dtype == torch.float32
    assert (read.latents.flow - motion.latents.flow).abs().max() * 64 < 0.032, "pixels of 128"
    assert torch.equal(read.waveform, motion.waveform)
    with pytest.raises(ValueError, match=r"precision is 'int8'; choose one of fp32, fp16"):
        write_motion(half, motion, "int8")


def rewrite(file, metadata=None, **tensors):
    with safe_open(file, "pt") as opened:
        known = opened.metadata()
    content = {**load_file(file), **tensors}
    save_file(
        {key: value for key, value in content.items() if value is not None},
        file,
        {**known, **(metadata or {})},
    )


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"format": "other"}, {}, r"is no motion file of this plugin \(format dawn-motion-1\)"),
        ({"fps": "30"}, {}, r"it is for 30 frames a second, this version makes 25"),
        ({"latent_size": "16"}, {}, r"flow is \[5, 8, 8, 2\] \(5 frames of 16×16\)"),
        ({"latent_size": "x"}, {}, r"damaged or incomplete"),
        ({}, {"flow": None}, r"damaged or incomplete"),
        ({}, {"flow": torch.zeros(0, 8, 8, 2), "occlusion": torch.zeros(0, 1, 8, 8)}, r"flow is \[0, 8, 8, 2\]"),
        ({}, {"occlusion": torch.zeros(4, 1, 8, 8)}, r"occlusion is \[4, 1, 8, 8\]"),
        ({}, {"waveform": torch.zeros(2, 99)}, r"its sound is \[2, 99\] at 44100 Hz"),
        ({"sample_rate": "16000"}, {}, r"its sound is \[2, 8820\] at 16000 Hz"),
        ({}, {"flow": torch.full((5, 8, 8, 2), torch.nan)}, r"values that are not numbers"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(file, metadata, tensors, message):
    rewrite(file, metadata, **tensors)
    with pytest.raises(ValueError, match=r"clip\.motion\.safetensors .*" + message):
        read_motion(file)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 99])
def test_files_that_are_something_else(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"can not be read: it is damaged or incomplete"):
        read_motion(file)


def test_a_truncated_file(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"can not be read: it is damaged or incomplete"):
        read_motion(file)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.safetensors can not be read: "):
        read_motion(tmp_path / "gone.safetensors")
