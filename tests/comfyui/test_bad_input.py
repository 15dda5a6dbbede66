"""What users get wrong: every error names the input and says what to do, and the next job runs."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from comfy_harness import NodeFailed, PromptRejected
from safetensors.torch import load_file, save_file
from talking_head import change, show, sound


@pytest.fixture
def refused(comfy, head):
    """refused(prompt, node, message): that node fails like this, without a trace in the next job."""

    def check(prompt, node: str, message: str) -> None:
        with pytest.raises(NodeFailed, match=message) as failure:
            comfy.run(prompt)
        assert failure.value.node == node
        assert failure.value.exception_type.rpartition(".")[2] in ("ValueError", "CheckpointError")
        assert node in comfy.run(show(head, node)).executed

    return check


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# --- pictures ---


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (noise(1, 300, 200, 3), r"No face found in the picture \(200×300\)\. Use a larger or clearer"),
        (torch.full((1, 64, 64, 3), 0.5), r"No face found in the picture \(64×64\)"),
        (torch.full((1, 1, 1, 3), 0.5), r"No face found in the picture \(1×1\)"),
        (torch.full((1, 2000, 1, 3), 0.5), r"No face found in the picture \(1×2000\)"),
        (noise(3, 64, 64, 3), r"picture 1 of 3: No face found in the picture \(64×64\)"),
        (torch.full((1, 64, 64, 3), torch.nan), r"image: the picture holds values that are not numbers"),
        (torch.zeros(1, 0, 64, 3), r"image: expected pictures .*, got \[1, 0, 64, 3\]"),
        (torch.zeros(1, 64, 64, 2), r"image: expected pictures .*, got \[1, 64, 64, 2\]"),
        (None, r"image: nothing arrived; connect a Load Image node"),
    ],
    ids=["noise", "flat", "1x1", "a line", "batch", "NaN", "empty", "two channels", "None"],
)
def test_a_picture_that_can_not_be_used(head, given, refused, image, message):
    refused({**head, "image": given.image(image)}, "portrait", message)


def test_a_picture_of_8k_without_a_face(head, given, refused):
    start = time.monotonic()
    refused(
        {**head, "image": given.image(torch.full((1, 7680, 7680, 3), 0.5))},
        "portrait",
        r"No face found in the picture \(7680×7680\)",
    )
    assert time.monotonic() - start < 60


def test_a_picture_of_8k_with_a_face(comfy, head, given, astronaut):
    small = comfy.run(show(head, "portrait")).output("portrait")
    large = astronaut.repeat_interleave(15, 1).repeat_interleave(15, 2)
    start = time.monotonic()
    run = comfy.run(show({**head, "image": given.image(large)}, "portrait"))
    assert time.monotonic() - start < 60
    centre = run.output("portrait").points[:, :2].mean(0) / 15
    assert (centre - small.points[:, :2].mean(0)).norm() < 5
    del run
    comfy.forget()


@pytest.mark.parametrize("channels", ["RGBA", "greyscale", "16 bit"])
def test_other_colour_formats_are_understood(comfy, head, given, astronaut, channels):
    image = {
        "RGBA": torch.cat([astronaut, torch.ones_like(astronaut[..., :1])], dim=-1),
        "greyscale": astronaut.mean(-1, keepdim=True),
        "16 bit": astronaut.half(),
    }[channels]
    expected = comfy.run(show(head, "portrait")).output("portrait")
    run = comfy.run({**head, "image": given.image(image)})
    points = run.output("portrait").points
    assert (points - expected.points)[:, :2].norm(dim=1).mean() < 3
    assert run.output("portrait", 1).shape == (1, 512, 512, 3)
    assert run.output("frames").shape == (10, 128, 128, 3)


def test_transparency_shows_white(comfy, head, given, astronaut):
    alpha = torch.ones_like(astronaut[..., :1])
    alpha[:, :40] = 0
    image = torch.cat([astronaut, alpha], dim=-1)
    picture = comfy.run(show({**head, "image": given.image(image)}, "portrait")).output("portrait").picture
    assert picture[:40].min() == 1
    assert torch.equal(picture[40:], astronaut[0, 40:])


def test_of_several_faces_the_largest_is_taken_and_said(comfy, head, given, astronaut, caplog):
    caplog.set_level("INFO")
    pair = torch.full((1, 512, 800, 3), 0.6)
    pair[:, 100:356, :256] = astronaut[:, ::2, ::2]
    pair[:, :, 288:] = astronaut
    prompt = show({**head, "image": given.image(pair)}, "portrait")
    assert comfy.run(prompt).output("portrait").points[:, 0].mean() > 400
    assert "2 faces found, using number 0 by size" in caplog.text

    assert comfy.run(change(prompt, "portrait", face_index=1)).output("portrait").points[:, 0].mean() < 256
    leftmost = change(prompt, "portrait", face_order="left-to-right")
    assert comfy.run(leftmost).output("portrait").points[:, 0].mean() < 256
    with pytest.raises(NodeFailed, match=r"Face 2 was asked for, but only 2 found .*Choose 0 to 1"):
        comfy.run(change(prompt, "portrait", face_index=2))


# --- sounds ---

with_nan = sound(0.5).index_fill(1, torch.tensor([7, 8]), torch.nan)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(1, 0), r"audio: the audio is empty: it has no samples\. Load a sound file"),
        (torch.zeros(0, 1, 16000), r"audio: a batch of 0 sounds arrived"),
        (torch.zeros(2, 1, 16000), r"audio: a batch of 2 sounds arrived.*one by one"),
        (with_nan, r"audio: the audio holds 2 samples that are not numbers"),
        (torch.full((1, 8000), torch.inf), r"audio: the audio holds 8000 samples that are not numbers"),
        (None, r"audio: nothing arrived\. The file may have no sound track"),
    ],
    ids=["empty", "no sounds", "batch", "NaN", "infinite", "None"],
)  # fmt: skip
def test_a_sound_that_can_not_be_used(head, given, refused, waveform, message):
    refused({**head, "sound": given.audio(waveform)}, "speech", message)


def test_a_start_beyond_the_end(head, refused):
    refused(
        change(head, "speech", start=3.0),
        "speech",
        r"start: 3 s is beyond the end of the audio, which lasts 0\.40 s",
    )


@pytest.mark.parametrize(
    ("waveform", "rate", "frames"),
    [
        (torch.zeros(1, 4000), 16000, 6),
        (sound(0.01), 16000, 1),
        (torch.zeros(1, 1), 16000, 1),
        (sound(0.2, 8000), 8000, 5),
        (sound(0.2, 96000), 96000, 5),
        (sound(0.2, 44100, 2), 44100, 5),
    ],
    ids=["silent", "10 ms", "one sample", "8 kHz", "96 kHz", "stereo"],
)
def test_unusual_sounds_are_spoken(comfy, head, given, waveform, rate, frames):
    run = comfy.run({**head, "sound": given.audio(waveform, rate)})
    assert run.output("frames").shape == (frames, 128, 128, 3)
    assert run.output("frames").isfinite().all()
    audio = run.output("frames", 1)
    assert audio["sample_rate"] == rate
    assert abs(audio["waveform"].shape[-1] / rate - frames / 25) <= 0.5 / rate


def test_both_channels_are_heard(comfy, head, given):
    """Upstream hears the left one alone."""
    right_only = torch.cat([torch.zeros(1, 6400), sound(0.4)])
    heard = comfy.run(show({**head, "sound": given.audio(right_only)}, "speech")).output("speech")
    mono = comfy.run(show(head, "speech")).output("speech")
    assert torch.allclose(heard.features.features, mono.features.features, atol=1e-3)


# --- files ---


@pytest.fixture
def model_file(comfy, head):
    """model_file(name, content) puts a file below models/dawn and takes it away afterwards."""
    written: list[Path] = []

    def write(name: str, content: object, folder: str = "dawn") -> str:
        path = comfy.base / "models" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(path)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif name.endswith(".safetensors"):
            save_file(content, path)
        else:
            torch.save(content, path)
        return name

    yield write
    for path in written:
        path.unlink()


class Malicious:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.safetensors", {"weight": torch.zeros(2)}, r"other\.safetensors is not a DAWN model file"),
        ("text.safetensors", b"<html>404</html>" * 99, r"text\.safetensors can not be read: .*cut short"),
        ("empty.safetensors", b"", r"empty\.safetensors can not be read: .*cut short"),
        ("denoiser.pth", {"diffusion": {}}, r"denoiser\.pth: the name must say the resolution"),
        ("128/DAWN_128.pth", {"diffusion": {}}, r"DAWN_128\.pth needs its flow autoencoder, LFG_128_….pth"),
    ],
)
def test_a_file_that_is_no_dawn_model(head, refused, model_file, name, content, message):
    refused(change(head, "model", model=model_file(name, content)), "model", message)


def test_a_truncated_model(comfy, head, refused, model_file):
    whole = (comfy.base / "models" / "dawn" / "tiny-128.safetensors").read_bytes()
    half = model_file("half.safetensors", whole[: len(whole) // 2])
    refused(change(head, "model", model=half), "model", r"half\.safetensors can not be read: .*cut short")


def test_a_malicious_checkpoint_does_nothing(head, refused, model_file, tmp_path):
    target = tmp_path / "executed"
    model_file("LFG_128_1000ep.pth", {"generator": {}})
    for part in ("pose", "blink"):
        model_file(f"pbnet/{part}/checkpoint_1.pth.tar", {"decoder.finallayer.weight": Malicious(target)})
    prompt = change(head, "model", model=model_file("DAWN_128.pth", {"diffusion": Malicious(target)}))
    refused(prompt, "model", r"checkpoint_1\.pth\.tar is refused: it holds more than tensors")
    assert not target.exists()


def test_a_denoiser_without_pose_and_blink(head, refused, model_file):
    model_file("LFG_128_1000ep.pth", {"generator": {}})
    prompt = change(head, "model", model=model_file("DAWN_128.pth", {"diffusion": {}}))
    refused(
        prompt, "model", r"DAWN_128.pth needs the pose and blink network: put the download's folder pbnet"
    )


def test_a_denoiser_without_its_flow_autoencoder(head, refused, model_file):
    model_file("LFG_256_400ep.pth", {"generator": {}})
    prompt = change(head, "model", model=model_file("DAWN_128.pth", {"diffusion": {}}))
    refused(
        prompt,
        "model",
        r"needs its flow autoencoder, LFG_128_….pth, .*LFG_256_400ep.pth is for another resolution",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.safetensors", {"weight": torch.zeros(2)}, r"other\.safetensors: .*not a large HuBERT"),
        (
            "text.safetensors",
            b"<html>404</html>" * 99,
            r"text\.safetensors can not be read: .*Download it again",
        ),
        ("text.pth", b"<html>404</html>", r"text\.pth can not be read: .*Download it again"),
        ("empty.bin", b"", r"empty\.bin can not be read: .*Download it again"),
        ("list.pth", [torch.zeros(2)], r"list\.pth can not be read: .*not a model file"),
    ],
)
def test_a_file_that_is_no_hubert(head, refused, model_file, name, content, message):
    file = model_file(name, content, "audio_encoders")
    refused(change(head, "encoder", audio_encoder=file), "encoder", message)


def test_a_hubert_with_a_tensor_missing(comfy, head, refused, model_file):
    state = load_file(comfy.base / "models" / "audio_encoders" / "tiny-hubert.safetensors")
    del state["hubert.encoder.layers.0.attention.q_proj.bias"]
    file = model_file("missing.safetensors", state, "audio_encoders")
    message = r"missing\.safetensors: .*missing: encoder\.layers\.0\.attention\.q_proj\.bias"
    refused(change(head, "encoder", audio_encoder=file), "encoder", message)


def test_no_models_at_all(comfy, head, tmp_path, monkeypatch):
    """A fresh installation: the graph is refused and says what to download and where to put it. (The
    embedded model is there all the same: test_embedded_model.py.)"""
    import folder_paths

    monkeypatch.setattr(
        folder_paths,
        "folder_names_and_paths",
        {
            name: ([str(tmp_path)], extensions) if name in ("dawn", "audio_encoders") else (paths, extensions)
            for name, (paths, extensions) in folder_paths.folder_names_and_paths.items()
        },
    )
    nothing = "(no audio encoder found)"
    with pytest.raises(
        PromptRejected, match=r"there is no audio encoder yet\. Download .*hubert-large-ls960-ft .* into "
    ):
        comfy.run(show(change(head, "encoder", audio_encoder=nothing), "encoder"))
    with pytest.raises((PromptRejected, NodeFailed), match=r"model.*tiny-128\.safetensors"):
        comfy.run(show(head, "model"))


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("encoder", {"audio_encoder": "gone.safetensors"}, r"gone\.safetensors"),
        ("model", {"model": "gone.safetensors"}, r"gone\.safetensors"),
        ("model", {"model": "../audio_encoders/tiny-hubert.safetensors"}, r"tiny-hubert\.safetensors"),
        ("model", {"dtype": "int4"}, r"dtype.*int4"),
        ("portrait", {"face_order": "beauty"}, r"beauty.*size.*left-to-right"),
    ],
)
def test_a_choice_that_is_not_offered(comfy, head, node, inputs, message):
    """Newer versions of ComfyUI refuse the prompt; 0.3.75 leaves this to the node."""
    with pytest.raises((PromptRejected, NodeFailed), match=message):
        comfy.run(change(head, node, **inputs))
    assert comfy.run(show(head, node)).output(node) is not None


# --- things that do not belong together ---


def test_pose_and_speech_of_different_lengths(head, given, refused):
    prompt = {**head, "other sound": given.audio(sound(0.2)), "other speech": head["speech"]}
    prompt = change(prompt, "other speech", audio=["other sound", 0])
    refused(
        change(prompt, "motion", speech=["other speech", 0]),
        "motion",
        r"pose: it has 10 frames, and the speech has 5\. Make it from the same speech",
    )


@pytest.mark.parametrize("node", ["pose", "motion"])
def test_speech_heard_by_another_encoder(head, refused, node):
    prompt = {**head, "wide": change(head, "encoder", audio_encoder="wide-hubert.safetensors")["encoder"]}
    prompt["wide speech"] = change(head, "speech", audio_encoder=["wide", 0])["speech"]
    refused(
        change(prompt, node, speech=["wide speech", 0]),
        node,
        r"speech: its features have 128 numbers per frame, tiny-128 takes 64\. Choose the audio encoder",
    )


def test_an_encoder_that_is_no_hubert(head, given, refused):
    whisper = SimpleNamespace(model=torch.nn.Linear(1, 1), model_sample_rate=16000)
    refused(
        {**head, "encoder": given.audio_encoder(whisper)},
        "speech",
        r"audio_encoder: this is not a HuBERT or wav2vec2 encoder",
    )


def test_motion_of_another_model(head, refused):
    prompt = {**head, "other model": change(head, "model", model="tiny-256.safetensors")["model"]}
    refused(
        change(prompt, "frames", model=["other model", 0]),
        "frames",
        r"motion: it was sampled by tiny-128 at 32×32, and tiny-256 \(64×64\) can not render it\. Connect the same",
    )


def test_a_precision_that_the_device_lacks(head, refused):
    refused(change(head, "model", dtype="fp16"), "model", r"dtype fp16 is not supported on cpu; choose auto")
    refused(
        change(head, "encoder", dtype="fp16"), "encoder", r"dtype fp16 is not supported on cpu; choose auto"
    )


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("motion", {"speech": ["sound", 0]}, r"Return type mismatch.*speech.*AUDIO.*DAWN_AUDIO"),
        ("motion", {"pose": ["portrait", 0]}, r"Return type mismatch.*pose.*DAWN_PORTRAIT.*DAWN_POSE"),
        ("frames", {"motion": ["speech", 0]}, r"Return type mismatch.*motion.*DAWN_AUDIO.*DAWN_MOTION"),
        ("frames", {"portrait": ["image", 0]}, r"Return type mismatch.*portrait.*IMAGE.*DAWN_PORTRAIT"),
        ("pose", {"model": ["encoder", 0]}, r"Return type mismatch.*model.*AUDIO_ENCODER.*DAWN_MODEL"),
        ("motion", {"steps": -1}, r"steps"),
        ("motion", {"steps": 201}, r"steps"),
        ("motion", {"eta": 1.5}, r"eta"),
        ("motion", {"window": -1}, r"window"),
        ("motion", {"guidance": -1.0}, r"guidance"),
        ("motion", {"seed": -1}, r"seed"),
        ("speech", {"start": -1.0}, r"start"),
    ],
)
def test_what_comfyui_refuses_before_it_runs(comfy, head, node, inputs, message):
    with pytest.raises(PromptRejected, match=message):
        comfy.run(change(head, node, **inputs))


def test_a_missing_wire_is_named(comfy, head):
    prompt = change(head, "motion")
    del prompt["motion"]["inputs"]["pose"]
    with pytest.raises(
        PromptRejected, match=r"node motion \(DawnSampleMotion\): Required input is missing: pose"
    ):
        comfy.run(prompt)
