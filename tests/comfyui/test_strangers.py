"""What strangers bring, from the wire to the saved file: the right result, or the word that names the fault."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
import torch
from comfy_harness import NodeFailed
from PIL import Image
from talking_head import change, saved_video, show, sound


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> torch.Tensor:
    return (0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(round(rate * seconds)) / rate)).repeat(
        channels, 1
    )


def turned(picture: torch.Tensor, degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE [1, S, S, 3] turned about its middle before grey, and the matrix that turns points alike [2, 2]."""
    image = Image.fromarray((picture[0].numpy() * 255).astype(np.uint8))
    image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    angle = -np.radians(degrees)
    matrix = torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32
    )
    return torch.from_numpy(np.array(image))[None].float() / 255, matrix


@pytest.fixture(scope="module")
def points(comfy, head):
    """Of the astronaut as she is, [478, 2]."""
    return comfy.run(show(head, "portrait")).output("portrait").points[:, :2]


@pytest.mark.parametrize("degrees", [-20, 20, 180, 150, 135, 210])
def test_a_turned_face_is_the_one_that_is_found(comfy, head, given, astronaut, points, degrees):
    """Turned by −20° a spot on the rocket has the larger box; upside down the mesh was 25 to 70 pixels off."""
    picture, matrix = turned(astronaut, degrees)
    found = (
        comfy.run(show({**head, "image": given.image(picture)}, "portrait")).output("portrait").points[:, :2]
    )
    expected = (points - 255.5) @ matrix.T + 255.5
    assert (found - expected).norm(dim=1).mean() < 10


def test_a_faded_face_is_the_one_that_is_found(comfy, head, given, astronaut, points):
    faded = 0.75 + 0.25 * astronaut
    found = (
        comfy.run(show({**head, "image": given.image(faded)}, "portrait")).output("portrait").points[:, :2]
    )
    assert (found - points).norm(dim=1).mean() < 10


@pytest.mark.parametrize(
    ("rate", "channels", "kept"),
    [(40000, 1, 44100), (5512, 1, 8000), (192000, 2, 96000), (48000, 6, 48000), (44100, 2, 44100)],
)
def test_a_sound_that_no_video_can_hold_is_saved_all_the_same(comfy, head, given, rate, channels, kept):
    path = saved_video(comfy, {**head, "sound": given.audio(tone(rate, 1.0, channels), rate)})
    with av.open(str(path)) as video:
        (stream,) = video.streams.audio
        assert stream.rate == kept
        heard = np.concatenate([frame.to_ndarray() for frame in video.decode(stream)], axis=1)
    assert abs(heard.shape[1] / kept - 1.0) < 0.12
    spectrum = np.abs(np.fft.rfft(heard[0]))
    assert abs(spectrum.argmax() * kept / heard.shape[1] - 440) < 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("speech.wav", r"^audio: expected a sound, and a str arrived"),
        ((torch.zeros(1, 800), 16000), r"^audio: expected a sound, and a tuple arrived"),
        ({"waveform": torch.zeros(1, 1, 800)}, r"^audio: the sound has no sample_rate"),
        ({"waveform": [0.0] * 800, "sample_rate": 16000}, r"^audio: its waveform is a list"),
        ({"waveform": torch.zeros(1, 1, 1, 800), "sample_rate": 16000}, r"^audio: its waveform has shape \[1, 1, 1"),
        ({"waveform": np.array(["a"] * 800), "sample_rate": 16000}, r"^audio: its waveform is a ndarray"),
        ({"waveform": torch.zeros(1, 1, 800, device="meta"), "sample_rate": 16000}, r"^audio: its waveform is a"),
        ({"waveform": torch.zeros(3, 1, 800), "sample_rate": 16000}, r"^audio: a batch of 3 sounds"),
        ({"waveform": torch.full((1, 1, 800), 1e20), "sample_rate": 16000}, r"^audio: its samples reach 1e\+20"),
        ({"waveform": torch.full((1, 1, 800), 20000.0), "sample_rate": 16000}, r"^audio: its samples reach 2e\+04"),
        *(
            ({"waveform": torch.zeros(1, 1, 800), "sample_rate": rate}, r"^audio: its sample rate is ")
            for rate in ("abc", None, float("inf"), 1, 16, -5)
        ),
    ],
)  # fmt: skip
def test_a_sound_that_is_none(comfy, head, given, value, message):
    with pytest.raises(NodeFailed, match=message.replace("^", "")) as failure:
        comfy.run(show({**head, "sound": given.raw_audio(value)}, "speech"))
    assert failure.value.node == "speech"


@pytest.mark.parametrize(
    "value",
    [
        {"waveform": sound(0.4)[0], "sample_rate": 16000},
        {"waveform": sound(0.4), "sample_rate": 16000},
        {"waveform": sound(0.4)[None].numpy(), "sample_rate": "16000"},
        {"waveform": (sound(0.4) * 32767).short()[None], "sample_rate": 16000.0},
        {"waveform": torch.cat([sound(0.4), sound(0.4)]), "sample_rate": 16000},
        {"waveform": torch.cat([sound(0.4), -sound(0.4)])[None], "sample_rate": 16000},
        {"waveform": torch.eye(6)[2][:, None] * sound(0.4)[None], "sample_rate": 16000},
        {"waveform": torch.eye(8)[2][:, None] * sound(0.4)[None], "sample_rate": 16000},
        {"waveform": sound(0.4).T.repeat(1, 2), "sample_rate": 16000},
        {"waveform": sound(0.4).T[None], "sample_rate": 16000},
        {"waveform": (sound(0.4) * 32767 + 32768).numpy().astype(np.uint16), "sample_rate": 16000},
        {"waveform": (sound(0.4) * 32767).int()[None], "sample_rate": 16000},
        {"waveform": sound(0.4).numpy().astype(">f4"), "sample_rate": 16000},
    ],
    ids=[
        "[T]",
        "[1, T]",
        "numpy, rate as text",
        "16 bits",
        "[2, T] is stereo",
        "opposite phase",
        "5.1, centre alone",
        "7.1, centre alone",
        "[T, 2]",
        "[1, T, 1]",
        "unsigned 16 bits",
        "16 bits in 32",
        "numbers of another machine",
    ],
)
def test_a_sound_in_another_form(comfy, head, given, value):
    usual = comfy.run(show(head, "speech")).output("speech").features.features
    found = (
        comfy.run(show({**head, "sound": given.raw_audio(value)}, "speech"))
        .output("speech")
        .features.features
    )
    assert found.shape == usual.shape
    assert torch.allclose(found, usual, atol=2e-2)


@pytest.mark.parametrize(
    ("change_of", "message"),
    [
        (lambda x: x * 255, r"image: its values go from 0 to 255, expected 0 to 1"),
        (lambda x: x * 2 - 1, r"image: its values go from -1 to 1, expected 0 to 1"),
    ],
)
def test_a_picture_of_another_range(comfy, head, given, astronaut, change_of, message):
    with pytest.raises(NodeFailed, match=message):
        comfy.run(show({**head, "image": given.image(change_of(astronaut))}, "portrait"))


def test_a_picture_in_bytes(comfy, head, given, astronaut, points):
    picture = (astronaut * 255).to(torch.uint8)
    found = (
        comfy.run(show({**head, "image": given.image(picture)}, "portrait")).output("portrait").points[:, :2]
    )
    assert (found - points).norm(dim=1).mean() < 1


def test_a_name_from_windows(comfy, head):
    (comfy.base / "models" / "dawn" / "sub").mkdir(exist_ok=True)
    target = comfy.base / "models" / "dawn" / "sub" / "inner.safetensors"
    target.write_bytes((comfy.base / "models" / "dawn" / "tiny-128.safetensors").read_bytes())
    try:
        run = comfy.run(show(change(head, "model", model="sub\\inner.safetensors"), "model"))
        assert run.output("model").config.name == "tiny-128"
    finally:
        target.unlink()


@pytest.mark.parametrize("saver", ["DawnSaveMotion", "DawnSavePoseBlink"])
@pytest.mark.parametrize(
    "prefix", ["x" * 300, "动" * 90, "../out", "", "  ", "pose/", "a\0b", ".", "x/..", "a\nb"]
)
def test_a_name_that_no_file_can_have(comfy, head, saver, prefix):
    given = {"motion": ["motion", 0], "precision": "fp32"} if saver == "DawnSaveMotion" else {
        "pose": ["pose", 0], "format": "csv"
    }  # fmt: skip
    prompt = {**head, "save": {"class_type": saver, "inputs": {**given, "filename_prefix": prefix}}}
    with pytest.raises(NodeFailed, match=r"filename_prefix: ") as failure:
        comfy.run(prompt)
    assert failure.value.node == "save"


@pytest.mark.parametrize(
    ("name", "values"), [("seed", [1, 2]), ("size", [256, 512]), ("head_motion", ["still", "calm"])]
)
def test_lists_into_talking_head(comfy, head, given, name, values):
    inputs = {
        "model": ["model", 0],
        "image": ["image", 0],
        "audio": ["sound", 0],
        "audio_encoder": ["encoder", 0],
    }
    prompt = {
        **{node: head[node] for node in ("image", "sound", "model", "encoder")},
        "list": given.list_of(values),
        "talking": {"class_type": "DawnTalkingHead", "inputs": {**inputs, name: ["list", 0]}},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["talking", 0]}},
    }
    with pytest.raises(NodeFailed, match=rf"{name}: 2 arrived, and DAWN Talking Head makes one video"):
        comfy.run(prompt)


def test_a_film_that_begins_without_a_face(comfy, head, given, astronaut):
    """Reported of other packs: no face in the first frame (kijai/ComfyUI-LivePortraitKJ#131), dark frames between two
    scenes (numz/sd-wav2lip-uhq#19) end the job."""
    dark = torch.zeros_like(astronaut)
    film = torch.cat([dark] * 3 + [astronaut] * 4 + [dark] * 2 + [astronaut] * 3)
    prompt = {
        **head,
        "film": given.image(film),
        "filmed": {
            "class_type": "DawnPoseBlinkFromVideo",
            "inputs": {
                "video": ["film", 0], "portrait": ["portrait", 0], "speech": ["speech", 0], "reference": "average",
                "length": "hold", "images_fps": 25.0, "threshold": 0.5,
            },
        },
    }  # fmt: skip
    run = comfy.run(show(prompt, "filmed"))
    motion = run.output("filmed")
    assert len(motion) == 10 and motion.pose.isfinite().all()
    assert (motion.pose - motion.pose[0]).abs()[:, :3].max() < 1.0, "the head of one picture does not move"
    assert run.output("filmed", 1) == 5


def test_nothing_of_the_host_is_changed(comfy):
    """A pack moved everybody's temp folder (ShmuelRonen/ComfyUI-LatentSyncWrapper#167)."""
    import folder_paths

    for folder in (folder_paths.get_temp_directory(), folder_paths.get_input_directory()):
        assert str(comfy.base) in folder
    assert str(comfy.plugin.__path__[0]) not in sys.path
