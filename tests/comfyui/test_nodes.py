"""Our nodes in a real ComfyUI: schemas, results, caching, progress, cancelling, memory."""

from __future__ import annotations

import functools
import gc
import shutil
import sys
import weakref
from pathlib import Path

import make_recipe_models as recipe_models
import pytest
import torch
from comfy_harness import Interrupted, NodeFailed
from safetensors.torch import load_file, save_file
from talking_head import SPEECH_WIDTH, change, show, sound

from dawn_model.audio.hubert import load_hubert
from dawn_model.audio.waveform import align_waveform, to_speech, to_video_rate
from dawn_model.checkpoints.checkpoint import load_networks, read_checkpoint
from dawn_model.config import DenoiserConfig
from dawn_model.denoiser.conditioning import condition_rows
from dawn_model.diffusion.noise import FrameNoise
from dawn_model.diffusion.sampler import latent_noise
from dawn_model.face.crop import crop_face
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.portrait import Portrait
from dawn_model.flow_autoencoder.render import render_frames
from dawn_model.head_motion.generate import generate_head_motion
from dawn_model.pipeline import SamplingOptions, denoiser_source, sample_motion
from dawn_model.structures import AudioFeatures

NODES = [
    "DawnLoadModel",
    "DawnLoadAudioEncoder",
    "DawnEncodeAudio",
    "DawnPreparePortrait",
    "DawnGeneratePoseBlink",
    "DawnPoseBlinkFromVideo",
    "DawnEditPoseBlink",
    "DawnBlendPoseBlink",
    "DawnPlotPoseBlink",
    "DawnSavePoseBlink",
    "DawnLoadPoseBlink",
    "DawnSampleMotion",
    "DawnMotionFromVideo",
    "DawnRenderFrames",
    "DawnSaveMotion",
    "DawnLoadMotion",
    "DawnPasteBack",
    "DawnTalkingHead",
    "DawnAuditions",
    "DawnExample",
]


def plugin_module(comfy, name: str):
    """A module of the plugin as ComfyUI has loaded it."""
    return sys.modules[f"{comfy.plugin.__name__}.{name}"]


# --- schemas ---


def test_these_nodes_and_no_others(comfy):
    ours = {node for node in comfy.nodes.NODE_CLASS_MAPPINGS if node.lower().startswith("dawn")}
    assert ours == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_schema_is_kind_to_the_user(comfy, node):
    schema = comfy.node_class(node).GET_SCHEMA()
    assert schema.category.split("/")[0] == "DAWN"
    assert schema.display_name.startswith("DAWN ")
    assert len(schema.description) > 60
    for socket in schema.inputs:
        plain_wire = socket.io_type.startswith("DAWN_")
        assert plain_wire or socket.tooltip, f"{socket.id} has no tooltip"
    assert all(output.display_name for output in schema.outputs)


def test_defaults_are_the_papers(comfy):
    """Steps and window are the model's own (0); the authors' configuration says 20 and 40."""
    inputs = {socket.id: socket for socket in comfy.node_class("DawnSampleMotion").GET_SCHEMA().inputs}
    defaults = {name: inputs[name].default for name in ("steps", "eta", "guidance", "window")}
    assert defaults == {"steps": 0, "eta": 1.0, "guidance": 1.0, "window": 0}
    assert (DenoiserConfig().sampling_steps, DenoiserConfig().window) == (20, 40)
    assert (inputs["eta"].min, inputs["eta"].max) == (0.0, 1.0)
    assert inputs["seed"].control_after_generate


def choices(comfy, node: str, name: str) -> list[str]:
    """What a combo box offers now."""
    (socket,) = [socket for socket in comfy.node_class(node).define_schema().inputs if socket.id == name]
    return socket.options


def test_loaders_list_models_and_not_their_parts(comfy, head):
    others = [comfy.base / "models" / "dawn" / name for name in ("LFG_128_1000ep.pth", "notes.txt")]
    for other in others:
        other.touch()
    models = choices(comfy, "DawnLoadModel", "model")
    assert {"tiny-128.safetensors", "tiny-256.safetensors"} <= set(models)
    assert not {other.name for other in others} & set(models)
    assert "tiny-hubert.safetensors" in choices(comfy, "DawnLoadAudioEncoder", "audio_encoder")
    for other in others:
        other.unlink()


# --- results ---


def test_the_graph_makes_frames_sound_and_rate(comfy, head):
    run = comfy.run(head)
    images, audio, fps = (run.output("frames", slot) for slot in range(3))
    assert images.shape == (10, 128, 128, 3) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert images.std() > 0.05
    assert (images[1:] - images[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0.01, "a frame stands still"
    assert audio["sample_rate"] == 16000 and audio["waveform"].shape == (1, 1, 6400)
    assert fps == 25.0 and isinstance(fps, float)
    assert run.output("speech", 2) == 10


def test_a_model_of_256_pixels_makes_frames_of_256(comfy, head):
    prompt = change(change(head, "model", model="tiny-256.safetensors"), "speech", duration=0.08)
    assert comfy.run(prompt).output("frames").shape == (2, 256, 256, 3)


def test_portrait_shows_what_it_found(comfy, head, astronaut):
    run = comfy.run(show(head, "portrait", 2))
    _, crop, overlay = (run.output("portrait", slot) for slot in range(3))
    assert overlay.shape == astronaut.shape
    drawn = (overlay - astronaut).abs().amax(-1) > 0.1
    assert 0.002 < drawn.float().mean() < 0.5
    assert crop.shape == (1, 512, 512, 3)
    assert crop.min() >= 0 and crop.max() <= 1 and crop.std() > 0.1
    face = run.output("portrait").points
    assert 150 < face[:, 0].mean() < 300 and 50 < face[:, 1].mean() < 200, (
        "the astronaut's face is at the top"
    )


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"),
    [
        (0.4, 16000, 1),
        (0.52, 44100, 2),
        (0.333, 48000, 2),
        (0.4, 8000, 1),
        (1.16, 22050, 1),
        (0.03, 96000, 6),
    ],
)
def test_the_sound_lasts_as_long_as_the_frames(comfy, head, given, seconds, rate, channels):
    waveform = sound(seconds, rate, channels)
    run = comfy.run(show({**head, "sound": given.audio(waveform, rate)}, "speech", 1))
    audio, frames = run.output("speech", 1), run.output("speech", 2)
    assert frames == max(1, waveform.shape[1] * 25 // rate)
    assert len(run.output("speech").features) == frames
    assert audio["sample_rate"] == rate and audio["waveform"].shape[:2] == (1, min(channels, 2))
    samples = audio["waveform"].shape[2]
    assert abs(samples / rate - frames / 25) <= 0.5 / rate
    heard = min(samples, waveform.shape[1])
    if channels <= 2:  # surround is mixed to stereo, as a video file takes it
        assert torch.equal(audio["waveform"][0, :, :heard], waveform[:, :heard])


def test_part_of_the_sound(comfy, head):
    run = comfy.run(show(change(head, "speech", start=0.2, duration=0.1), "speech", 1))
    assert run.output("speech", 2) == 2
    assert torch.equal(run.output("speech", 1)["waveform"][0], sound(0.4)[:, 3200 : 3200 + 1280])


def test_nodes_add_nothing_to_what_the_model_computes(comfy, head, astronaut):
    """The same clip made by dawn_model alone, without ComfyUI, from the same files and seeds."""
    run = comfy.run(head)
    models = comfy.base / "models"
    networks = load_networks(checkpoint := read_checkpoint(models / "dawn" / "tiny-128.safetensors"))
    config = checkpoint.config
    encoder = load_hubert(load_file(models / "audio_encoders" / "tiny-hubert.safetensors")).float()

    speech = align_waveform(to_speech(sound(0.4), 16000), 16000, 10)
    features = to_video_rate(encoder.encode(speech), 10)
    assert torch.allclose(run.output("speech").features.features, features, atol=1e-5)

    picture = astronaut[0]
    points = FaceLandmarker.load()(picture)[0].points
    cut, face = Portrait(picture, points, crop_face(points, 512, 512, 512)).at(config.image_size)
    draws = FrameNoise(1, "pose-blink")
    z = [draws(index, 10, motion.z_dim) for index, motion in enumerate(config.motion)]
    pose = generate_head_motion(
        [networks["motion.0"], networks["motion.1"]], AudioFeatures(features), face, z
    )
    assert torch.allclose(run.output("pose").pose, pose.pose, atol=1e-4)
    assert torch.allclose(run.output("pose").blink, pose.blink, atol=1e-5)

    source = networks["autoencoder"].encode(cut)
    latents = sample_motion(
        networks["denoiser"],
        denoiser_source(source, face, networks["box_encoder"]),
        condition_rows(features, pose, face),
        latent_noise(FrameNoise(1, "motion"), 10, 32, 32, like=torch.zeros(())),
        SamplingOptions(steps=2, eta=1.0, guidance=1.0, window=40),
    )
    assert torch.allclose(run.output("motion").latents.flow, latents.flow, atol=2e-4)
    assert torch.allclose(run.output("motion").latents.occlusion, latents.occlusion, atol=2e-4)
    frames = render_frames(networks["autoencoder"], source, latents)
    assert torch.allclose(run.output("frames"), frames, atol=1e-3)


def test_the_seed_decides_and_nothing_else(comfy, head):
    first = comfy.run(head).output("frames").clone()
    comfy.forget()
    assert torch.equal(comfy.run(head).output("frames"), first)
    for node in ("motion", "pose"):
        other = comfy.run(change(head, node, seed=2)).output("frames")
        assert (other - first).abs().mean() > 1e-3, f"the seed of {node} changes nothing"


def test_bf16_runs_on_a_cpu_and_stays_close(comfy, head):
    exact = comfy.run(head).output("motion").latents
    half = (
        comfy.run(change(change(head, "model", dtype="bf16"), "encoder", dtype="bf16"))
        .output("motion")
        .latents
    )
    difference = (half.occlusion - exact.occlusion).abs().mean()
    assert 0 < difference < 0.1


@pytest.mark.parametrize("option", [{"guidance": 2.0}, {"window": 1}, {"eta": 0.0}, {"steps": 3}])
def test_every_option_of_the_sampler_matters(comfy, head, option):
    plain = comfy.run(head).output("frames").clone()
    assert (comfy.run(change(head, "motion", **option)).output("frames") - plain).abs().max() > 1e-3


# --- what runs again ---


def test_the_second_run_executes_nothing(comfy, head):
    comfy.run(head)
    assert comfy.run(head).executed == []


def test_another_pose_leaves_speech_and_portrait_alone(comfy, head):
    comfy.run(head)
    assert set(comfy.run(change(head, "pose", seed=77)).executed) == {"pose", "motion", "frames", "show"}


def test_another_sampling_leaves_the_pose_alone(comfy, head):
    comfy.run(head)
    assert set(comfy.run(change(head, "motion", steps=1)).executed) == {"motion", "frames", "show"}


def test_another_rendering_samples_nothing(comfy, head):
    """The same motion moves another crop of the picture."""
    comfy.run(head)
    wider = change({**head, "wider": head["portrait"]}, "wider", margin=0.8)
    run = comfy.run(change(wider, "frames", portrait=["wider", 0]))
    assert set(run.executed) == {"wider", "frames", "show"}


def test_a_replaced_file_is_loaded_again(comfy, head):
    comfy.run(head)
    file = comfy.base / "models" / "dawn" / "tiny-128.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    executed = comfy.run(head).executed
    assert "model" in executed and "portrait" not in executed


# --- progress and cancelling ---


def test_progress_of_every_step_and_previews(comfy, head):
    comfy.forget()
    run = comfy.run(change(head, "motion", steps=5))
    steps = [(value, total) for node, value, total in run.progress if node == "motion"]
    import comfy.utils

    if hasattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL"):  # ComfyUI 0.33 leaves out what comes too soon
        assert steps == sorted(steps) and steps[-1] == (5, 5)
    else:
        assert steps == [(step, 5) for step in range(1, 6)]
    assert [(value, total) for node, value, total in run.progress if node == "frames"][-1] == (10, 10)
    assert [(value, total) for node, value, total in run.progress if node == "speech"] == [(1, 1)]

    assert [node for node, _ in run.previews] == ["motion", "motion"]  # of steps 4 and 5
    last = torch.frombuffer(bytearray(run.previews[-1][1].tobytes()), dtype=torch.uint8).reshape(128, 128, 3)
    middle = run.output("frames")[5]
    assert (last / 255 - middle).abs().max() < 0.01, "the last preview is the middle frame of the result"


@pytest.mark.parametrize("node", ["speech", "motion", "frames"])
def test_cancel_works_within_a_step(comfy, head, given, node):
    comfy.forget()
    seen = []

    def cancel(step):
        if step.node == node:
            seen.append(step)
            comfy.interrupt()

    prompt = change(head, "motion", steps=50 if node == "motion" else 1)
    if node == "speech":
        prompt = {**prompt, "sound": given.audio(sound(45))}  # three clips of 20 seconds
    with pytest.raises(Interrupted, match=rf"interrupted in node {node} "):
        comfy.run(prompt, on_progress=cancel)
    assert len(seen) == 1 and seen[0].total >= 3 and seen[0].value < seen[0].total
    assert comfy.run(head).output("frames").shape[0] == 10, "the next job runs"


# --- the host's memory management ---


def loaded_patchers(comfy) -> list:
    import comfy.model_management as mm

    return [loaded.model for loaded in mm.current_loaded_models]


def test_every_network_is_in_the_hosts_hands(comfy, head):
    comfy.forget()
    run = comfy.run(head)
    loaded = loaded_patchers(comfy)
    model, encoder = run.output("model"), run.output("encoder")
    assert set(model.patchers) == {"denoiser", "autoencoder", "box_encoder", "motion.0", "motion.1"}
    for patcher in [*model.patchers.values(), encoder.patcher]:
        assert patcher in loaded
        assert patcher.model_size() > 0
        assert not any(parameter.requires_grad for parameter in patcher.model.parameters())

    import comfy.model_management as mm

    mm.unload_all_models()
    assert loaded_patchers(comfy) == []
    again = comfy.run(change(head, "pose", seed=5))
    assert "model" not in again.executed and "encoder" not in again.executed
    assert model.patchers["denoiser"] in loaded_patchers(comfy)


def test_a_model_that_is_dropped_is_gone(comfy, head):
    networks = [weakref.ref(patcher.model) for patcher in comfy.run(head).output("model").patchers.values()]
    comfy.forget()
    gc.collect()
    assert [network() for network in networks] == [None] * 5


def test_results_lie_where_the_host_wants_them(comfy, head):
    import comfy.model_management as mm

    run = comfy.run(head)
    for tensor in (
        run.output("frames"),
        run.output("portrait", 1),
        run.output("motion").latents.flow,
        run.output("pose").pose,
        run.output("speech").features.features,
    ):
        assert tensor.device == mm.intermediate_device()


def test_rendering_goes_on_with_fewer_frames_when_memory_is_short(comfy, head, monkeypatch, caplog):
    import comfy.model_management as mm

    run = comfy.run(head)
    expected = run.output("frames").clone()
    autoencoder = run.output("model").network("autoencoder")
    decode, sizes = type(autoencoder).decode, []

    def small_memory(self, source, flow, occlusion, shut=None):
        sizes.append(len(flow))
        if len(flow) > 1 and len(sizes) > 1:
            raise mm.OOM_EXCEPTION("out of memory")
        return decode(self, source, flow, occlusion, shut)

    monkeypatch.setattr(type(autoencoder), "decode", small_memory)
    other_crop = change(
        {**head, "again": head["portrait"]}, "again", threshold=0.45
    )  # same face, no cached frames
    frames = comfy.run(change(other_crop, "frames", portrait=["again", 0])).output("frames")
    assert torch.allclose(frames, expected, atol=1e-5)
    assert sizes == [4, 4, 2, *[1] * 6], "frames that are done are made again"
    assert "out of memory, continuing with 1 frames at a time" in caplog.text


# --- beside core's nodes ---


@pytest.fixture
def large_width_encoder(comfy, head, tmp_path, monkeypatch) -> str:
    """HuBERT of the large model's width, one layer deep, re-keyed for core's loader."""
    recipe_models.write_hubert(tmp_path, num_hidden_layers=1)
    state = load_file(tmp_path / "hubert-large-ls960-ft.safetensors")
    rekeyed = {key.removeprefix("hubert."): value for key, value in state.items() if "lm_head" not in key}
    file = comfy.base / "models" / "audio_encoders" / "large-width.safetensors"
    save_file(rekeyed, file)

    from comfy.audio_encoders import audio_encoders  # core's loader knows the real depth only

    one_layer = functools.partial(audio_encoders.Wav2Vec2Model)
    monkeypatch.setattr(
        audio_encoders, "Wav2Vec2Model", lambda **sizes: one_layer(**{**sizes, "num_layers": 1})
    )
    yield file.name
    comfy.forget()
    file.unlink()


def test_an_encoder_loaded_by_core_is_heard_as_ours(comfy, head, given, large_width_encoder, caplog):
    heard = {}
    prompt = {**head, "sound": given.audio(sound(1.0, 44100, 2), 44100)}
    for loader, name in (
        ("AudioEncoderLoader", "audio_encoder_name"),
        ("DawnLoadAudioEncoder", "audio_encoder"),
    ):
        inputs = {name: large_width_encoder} | ({"dtype": "fp32"} if name == "audio_encoder" else {})
        prompt["encoder"] = {"class_type": loader, "inputs": inputs}
        run = comfy.run(show(prompt, "speech"))
        heard[loader] = run.output("speech").features.features
        assert [step for step in run.progress if step.node == "speech"], "core's encoder can be cancelled too"
    assert "missing audio encoder" not in caplog.text and "unexpected audio encoder" not in caplog.text
    assert heard["AudioEncoderLoader"].shape == (25, 1024)
    assert heard["AudioEncoderLoader"].std() > 0.1
    assert torch.allclose(heard["AudioEncoderLoader"], heard["DawnLoadAudioEncoder"], atol=1e-3)


def test_our_encoder_serves_cores_encode_node(comfy, head):
    prompt = {
        **head,
        "core": {
            "class_type": "AudioEncoderEncode",
            "inputs": {"audio_encoder": ["encoder", 0], "audio": ["sound", 0]},
        },
    }
    result = comfy.run(show(prompt, "core")).output("core")
    hidden = result["encoded_audio"]
    assert hidden.shape == (1, 19, SPEECH_WIDTH) and result["audio_samples"] == 6400
    assert len(result["encoded_audio_all_layers"]) == 2  # before the layer, and after it
    assert torch.equal(result["encoded_audio_all_layers"][-1], hidden)
    speech = comfy.run(show(head, "speech")).output("speech").features.features
    assert torch.allclose(to_video_rate(hidden[0], 10), speech, atol=1e-4)


def test_extra_model_paths_are_respected(comfy, head, tmp_path, monkeypatch):
    """In the order of a real start: extra_model_paths.yaml is read before any plugin."""
    import folder_paths
    import utils.extra_config

    elsewhere = tmp_path / "my disk" / "dawn models"
    elsewhere.mkdir(parents=True)
    shutil.copy(comfy.base / "models" / "dawn" / "tiny-128.safetensors", elsewhere / "elsewhere.safetensors")
    config = tmp_path / "extra_model_paths.yaml"
    config.write_text(f"mine:\n  base_path: {tmp_path / 'my disk'}\n  dawn: dawn models\n")

    known = dict(folder_paths.folder_names_and_paths)
    del known["dawn"]
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    utils.extra_config.load_extra_path_config(str(config))
    plugin_module(comfy, "nodes.support.model_folders").register()

    folders = [Path(folder) for folder in folder_paths.get_folder_paths("dawn")]
    assert folders == [elsewhere, comfy.base / "models" / "dawn"]
    run = comfy.run(change(head, "model", model="elsewhere.safetensors"))
    assert run.output("frames").shape[0] == 10


FROM_VIDEO = {
    "class_type": "DawnMotionFromVideo",
    "inputs": {"model": ["model", 0], "portrait": ["portrait", 0], "video": ["image", 0]},
}


def test_motion_from_video_needs_the_authors_files(comfy, head):
    with pytest.raises(
        NodeFailed, match=r"model: tiny-128 can not see motion in a video\. Choose DAWN_128\.pth"
    ):
        comfy.run({**head, "motion": FROM_VIDEO})


# --- full size ---


def test_the_authors_files_at_full_size(comfy, head, large_width_encoder, caplog):
    """As downloaded, in a subfolder; one step of two frames. Changing any of the files loads the model anew."""
    folder = comfy.base / "models" / "dawn" / "download"
    recipe_models.write_dawn(folder, 128)
    caplog.set_level("INFO")
    try:
        prompt = change(head, "model", model=str(Path("download") / "DAWN_128.pth"))
        prompt = change(change(prompt, "encoder", audio_encoder=large_width_encoder), "speech", duration=0.08)
        prompt = change(prompt, "motion", steps=1)
        run = comfy.run(prompt)
        frames = run.output("frames")
        assert frames.shape == (2, 128, 128, 3) and frames.isfinite().all() and frames.std() > 0.02
        assert run.output("model").config.name == "dawn-128"
        assert "loaded dawn-128 (torch.float32) from DAWN_128.pth" in caplog.text

        run = comfy.run({**prompt, "motion": FROM_VIDEO})
        assert run.output("frames").shape == (1, 128, 128, 3) and run.output("frames").isfinite().all()
        assert run.output("frames", 1)["waveform"].abs().max() == 0

        (folder / "pbnet" / "blink" / "opt.yaml").write_text("archiname: transformerreemb5\n")
        assert "model" in comfy.run(show(prompt, "model")).executed
    finally:
        comfy.forget()
        shutil.rmtree(folder)
