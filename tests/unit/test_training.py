"""Training code that can be checked in seconds, without the head or the speech."""

import dataclasses

import numpy as np
import pytest
import torch

numba = pytest.importorskip("numba", reason="training/requirements.txt is not installed")
soundfile = pytest.importorskip("soundfile", reason="training/requirements.txt is not installed")

from dawn_model.checkpoints.checkpoint import load_networks, read_checkpoint  # noqa: E402
from dawn_model.config import DAWN_NANO  # noqa: E402
from dawn_model.denoiser.compact import still_grid  # noqa: E402
from dawn_model.flow_autoencoder.warping import resize, warp  # noqa: E402
from training.clips.dataset import ClipStore  # noqa: E402
from training.clips.scenario import random_scenario, source_expression  # noqa: E402
from training.evaluation import metrics  # noqa: E402
from training.paths import MODEL  # noqa: E402
from training.people.head import Person  # noqa: E402
from training.people.renderer import View, flow_between, rotation, shade, shrink, surface_of  # noqa: E402
from training.speech import labels, mouth_shapes, sounds  # noqa: E402
from training.speech.labels import articulation_of, class_shares  # noqa: E402
from training.stages import train_speech  # noqa: E402
from training.stages.export import export  # noqa: E402
from training.stages.initial import new_networks  # noqa: E402
from training.stages.progress import Progress  # noqa: E402


def dome():
    """A coloured dome over a plane."""
    side = 40
    y, x = np.meshgrid(np.linspace(1, -1, side), np.linspace(-1, 1, side), indexing="ij")
    z = np.sqrt(np.clip(0.8 - x**2 - y**2, 0, None))
    corner = np.arange(side * side).reshape(side, side)
    upper = np.stack([corner[:-1, :-1], corner[1:, :-1], corner[:-1, 1:]], -1).reshape(-1, 3)
    lower = np.stack([corner[1:, 1:], corner[:-1, 1:], corner[1:, :-1]], -1).reshape(-1, 3)
    triangles = np.concatenate([upper, lower]).astype(np.int32)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    colours = 0.5 + 0.4 * np.sin(vertices @ np.array([[9, 4, 1], [2, 8, 3], [5, 1, 7]]))
    person = Person(
        vertices=vertices,
        colours=colours[triangles].astype(np.float32),
        triangles=triangles,
        surfaces=np.zeros(len(triangles), int),
        neck=np.zeros(3),
        centre=np.zeros(3),
        turning=np.ones((len(vertices), 1), np.float32),
        light=np.array([0, 0, 1.0]),
        gloss=0.0,
        ambient=1.0,
    )
    return person


def test_flow_moves_the_source_onto_the_target():
    person = dome()
    source = surface_of(person, person.vertices, rotation(0, 0, 0), View(), 256)
    target = surface_of(person, person.vertices, rotation(8, -5, 6), View(), 256)
    flow, visible = flow_between(person, source, target, 64)
    grid = still_grid(64, 64, torch.zeros(())) + 2 * torch.from_numpy(flow).movedim(0, -1)
    grid = resize(grid.movedim(-1, 0)[None], (128, 128)).movedim(1, -1)
    pictures = [torch.from_numpy(shrink(shade(person, d), 2)).movedim(-1, 0)[None] for d in (source, target)]
    seen = resize(torch.from_numpy(visible)[None, None], (128, 128)) > 0.99
    inside = torch.from_numpy(shrink(target.cover.astype(np.float32), 2)) > 0.99
    inside = torch.nn.functional.max_pool2d(1 - inside.float()[None, None], 5, 1, 2) == 0
    seen = (seen & inside)[0, 0]
    moved, still, truth = warp(pictures[0], grid)[0], pictures[0][0], pictures[1][0]

    def decibels(a):
        return float(-10 * torch.log10((a - truth)[:, seen].square().mean()))

    assert seen.sum() > 5000
    assert decibels(moved) > 30 > decibels(still) + 8


def test_another_surface_close_behind_counts_as_hidden():
    """As teeth behind lips: nothing moves, but half of what the target shows was covered by another kind."""
    person = dome()
    drawing = surface_of(person, person.vertices, rotation(0, 0, 0), View(), 128)
    right = person.vertices[person.triangles].mean(1)[:, 0] > 0
    opened = dataclasses.replace(person, surfaces=right.astype(int))
    covered = dataclasses.replace(
        drawing, seen=np.where(drawing.seen >= 0, 0, -1)
    )  # all of the first triangle
    _, visible = flow_between(opened, covered, drawing, 32)
    assert visible[16, 10] > 0.9 and visible[16, 22] < 0.1


def test_where_two_lips_meet_the_flow_between_cells_is_not_trusted():
    """The right half was somewhere else: on the seam, interpolated flow leads to neither."""
    person = dome()
    target = surface_of(person, person.vertices, rotation(0, 0, 0), View(), 128)
    apart = target.points + [12, 0, 0] * (person.vertices[:, :1] > 0)
    source = dataclasses.replace(target, points=apart.astype(np.float32))
    trusting, careful = (
        flow_between(person, source, target, 32, delicate=mask)[1]
        for mask in (None, np.ones((128, 128), bool))
    )
    seam = slice(15, 17)
    assert careful[10:22, seam].mean() < trusting[10:22, seam].mean() - 0.3
    assert np.allclose(careful[10:22, 8:12], trusting[10:22, 8:12])


def test_no_motion_is_no_flow():
    person = dome()
    drawing = surface_of(person, person.vertices, rotation(5, 5, 5), View(), 128)
    flow, visible = flow_between(person, drawing, drawing, 32)
    assert np.abs(flow).max() < 1e-5
    assert visible.mean() > 0.98


PHONES = [("m", 0.0, 0.2), ("aa", 0.2, 0.6), ("uw", 0.6, 0.9), ("sil", 0.9, 2.0)]


def test_labels_close_open_and_round():
    gap, width = articulation_of(PHONES, 50)[:, :2].T
    assert gap[2] < 0.04 and gap[9] > 0.22
    assert width[18] < -0.05 < width[9]
    shares = class_shares(PHONES, 50)
    assert np.allclose(shares.sum(1), 1, atol=1e-3)
    assert shares[2].argmax() == 0 and shares[40].argmax() == labels.SILENCE


def test_a_short_pause_is_no_silence():
    shares = class_shares([("aa", 0.0, 0.5), ("sil", 0.5, 0.7), ("aa", 0.7, 1.2)], 30)
    assert shares[15].argmax() == labels.SHORT_PAUSE


def test_shapes_meet_where_they_should():
    shapes = mouth_shapes.mouth_shapes(class_shares(PHONES, 50), 1.5)
    jaw, roll = (shapes[:, mouth_shapes.UNITS.index(unit)] for unit in ("jawOpen", "mouthRollLower"))
    assert jaw[9] > 0.5 and jaw[2] < 0.02 and jaw[40] < 0.02
    assert roll[2] > 0.12 > roll[9]


def test_scenarios_repeat_with_their_seed():
    first, second, other = (random_scenario(np.random.default_rng(seed), [PHONES], 20) for seed in (1, 1, 2))
    assert np.array_equal(first.shares, second.shares) and np.array_equal(first.pose, second.pose)
    assert not np.array_equal(first.pose, other.pose)
    assert first.shares.shape == (20, 17)


def test_the_portrait_shows_what_the_speaker_does_not():
    """Sources of every expression, drawn apart from the clip."""
    opened = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        expression = source_expression(rng, random_scenario(rng, [PHONES], 20), [PHONES])
        opened.append(expression.get("jawOpen", 0) + expression.get("mouthUpperUpLeft", 0))
    opened = np.array(opened)
    assert (opened < 0.05).mean() > 0.25 and (opened > 0.15).mean() > 0.3


def test_disturbed_speech_keeps_its_length_and_its_seed():
    speech = np.sin(np.arange(16000) / 20).astype(np.float32)
    for seed in range(12):
        one, two = (sounds.disturbed(np.random.default_rng(seed), speech, [speech]) for _ in range(2))
        assert one.shape == speech.shape and np.isfinite(one).all() and np.array_equal(one, two)


def synthetic_clip(path, frames=10):
    rng = np.random.default_rng(0)
    np.savez(
        path,
        rgb=rng.integers(0, 255, (2 + 4, 256, 256, 3), np.uint8),
        cover=rng.integers(0, 255, (2 + 4, 256, 256), np.uint8),
        painted=np.array([1, 4, 5, 8]),
        flow=rng.normal(0, 0.02, (2, frames, 2, 64, 64)).astype(np.float16),
        visible=rng.integers(0, 255, (2, frames, 64, 64), np.uint8),
        pose=np.zeros((2, 3), np.float32),
        blink=np.zeros((2, 2), np.float32),
        points=rng.uniform(40, 200, (2, 478, 3)).astype(np.float32),
        pose_change=rng.normal(0, 5, (2, frames, 3)).astype(np.float32),
        blink_change=rng.normal(0, 0.1, (2, frames, 2)).astype(np.float32),
        regions=np.full((frames, 3, 4), 0.3, np.float32),
        mouth=rng.uniform(0, 0.3, (frames, 2)).astype(np.float32),
        source_mouth=rng.uniform(0, 0.3, (2, 2)).astype(np.float32),
        expression=rng.uniform(0, 0.3, (frames, 6)).astype(np.float32),
        source_expression=rng.uniform(0, 0.3, (2, 6)).astype(np.float32),
        shares=rng.dirichlet(np.ones(17), frames).astype(np.float32),
        kind=np.array("still"),
    )


@pytest.mark.parametrize("motion", [True, False])
def test_batches_repeat_with_their_seed(tmp_path, motion):
    synthetic_clip(tmp_path / "0.npz")
    store, window = ClipStore(tmp_path), 6 if motion else 2
    one, two = (store.batch(np.random.default_rng(5), 2, window, motion=motion) for _ in range(2))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(two, name)), name
    assert one.flow.shape == (2, window, 2, 64, 64) and one.condition.shape == (2, window, 27)
    assert one.frames.shape == ((2, 0, 3, 128, 128) if motion else (2, 2, 3, 256, 256))
    assert one.source.min() >= 0 and one.source.max() <= 1


@torch.inference_mode(False)
def test_export_is_read_back(tmp_path):
    networks = new_networks(0)
    paths = []
    for names in (["autoencoder"], ["denoiser", "audio_encoder"], ["motion.0"]):
        chosen = torch.nn.ModuleDict({name.split(".")[0]: networks[name] for name in names})
        paths.append(tmp_path / f"{names[0]}.pt")
        Progress(chosen, paths[-1], 1e-3, 1).save()
    size = export(paths, tmp_path / "model.safetensors")
    assert size < 24 * 10**6
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.config == DAWN_NANO
    loaded = load_networks(checkpoint, dtype=torch.float32)
    weight = loaded["denoiser"].output.weight
    assert torch.allclose(weight, networks["denoiser"].output.weight, atol=1e-3)


def test_the_readout_of_standardised_states_takes_them_as_they_are():
    encoder = new_networks(0)["audio_encoder"]
    hidden = torch.randn(1, 20, 768) * torch.logspace(-1, 2, 768) + 3
    standardise = train_speech.Standardise(hidden.mean((0, 1)), hidden.std((0, 1)))
    wanted = encoder.read(standardise(hidden))
    saved = torch.nn.ModuleDict({"audio_encoder": encoder, "standardise": standardise}).state_dict()
    saved = {key.removeprefix("audio_encoder."): value for key, value in train_speech.folded(saved).items()}
    encoder.load_state_dict(saved)
    assert torch.allclose(encoder.read(hidden), wanted, atol=1e-4)


def test_what_no_checkpoint_has_stays(tmp_path):
    networks = new_networks(0)
    chosen = torch.nn.ModuleDict({"autoencoder": networks["autoencoder"]})
    Progress(chosen, tmp_path / "picture.pt", 1e-3, 1).save()
    export([tmp_path / "picture.pt"], tmp_path / "new.safetensors", keep=MODEL)
    made, shipped = (read_checkpoint(path).tensors for path in (tmp_path / "new.safetensors", MODEL))
    assert torch.equal(made["denoiser"]["output.weight"], shipped["denoiser"]["output.weight"])
    key = next(iter(made["autoencoder"]))
    assert torch.equal(
        made["autoencoder"][key].float(), networks["autoencoder"].state_dict()[key].half().float()
    )


def test_synchrony_prefers_the_own_sound():
    rng = np.random.default_rng(0)
    sounds = [np.convolve(rng.normal(size=120), np.hanning(7), "same") for _ in range(4)]
    difference, lag = metrics.synchrony([np.roll(s, 1) for s in sounds], sounds)
    assert difference > 0.4 and lag == 1


def test_blinks_are_counted():
    openness = np.full(100, 0.3)
    openness[[20, 21, 60]] = 0.05
    assert metrics.blinks_seen(openness, [20, 40]) == (1, 1)
