"""Training code that can be checked in seconds, without the head or the speech."""

import dataclasses
from types import SimpleNamespace

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
from training.clips.scenario import Utterances, random_scenario  # noqa: E402
from training.evaluation import metrics  # noqa: E402
from training.people.head import Person  # noqa: E402
from training.people.renderer import View, draw, flow_between, rotation, shrink  # noqa: E402
from training.speech.visemes import UNITS, mouth_curves  # noqa: E402
from training.stages.export import export  # noqa: E402
from training.stages.initial import new_networks  # noqa: E402
from training.stages.progress import Progress  # noqa: E402


def dome():
    """A coloured dome over a plane, and a mesh without any face unit."""
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
    return SimpleNamespace(units={}), person


def test_flow_moves_the_source_onto_the_target():
    mesh, person = dome()
    source = draw(mesh, person, {}, rotation(0, 0, 0), View(), 256)
    target = draw(mesh, person, {}, rotation(8, -5, 6), View(), 256)
    flow, visible = flow_between(person, source, target, 64)
    grid = still_grid(64, 64, torch.zeros(())) + 2 * torch.from_numpy(flow).movedim(0, -1)
    grid = resize(grid.movedim(-1, 0)[None], (128, 128)).movedim(1, -1)
    pictures = [torch.from_numpy(shrink(d.picture, 2)).movedim(-1, 0)[None] for d in (source, target)]
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
    mesh, person = dome()
    drawing = draw(mesh, person, {}, rotation(0, 0, 0), View(), 128)
    right = person.vertices[person.triangles].mean(1)[:, 0] > 0
    opened = dataclasses.replace(person, surfaces=right.astype(int))
    covered = dataclasses.replace(
        drawing, seen=np.where(drawing.seen >= 0, 0, -1)
    )  # all of the first triangle
    _, visible = flow_between(opened, covered, drawing, 32)
    assert visible[16, 10] > 0.9 and visible[16, 22] < 0.1


def test_no_motion_is_no_flow():
    mesh, person = dome()
    drawing = draw(mesh, person, {}, rotation(5, 5, 5), View(), 128)
    flow, visible = flow_between(person, drawing, drawing, 32)
    assert np.abs(flow).max() < 1e-5
    assert visible.mean() > 0.98


def test_closures_close_and_vowels_open():
    curves = mouth_curves([("m", 0.0, 0.2), ("aa", 0.2, 0.6), ("pau", 0.6, 1.2)], 30)
    jaw, press = curves[:, UNITS.index("jawOpen")], curves[:, UNITS.index("mouthPressLeft")]
    assert jaw[10] > 0.45 and jaw[1] < 0.05 and jaw[28] < 0.01
    assert press[1] > 0.4 and press[10] < 0.05


def test_scenarios_repeat_with_their_seed():
    energies = [np.random.default_rng(0).normal(-5, 2, (300, 40)).astype(np.float16)]
    utterances = Utterances(energies, [[("aa", 0.0, 1.5), ("pau", 1.5, 3.0)]])
    first, second, other = (
        random_scenario(np.random.default_rng(seed), utterances, 20, "moving") for seed in (1, 1, 2)
    )
    assert np.array_equal(first.mel, second.mel) and np.array_equal(first.pose, second.pose)
    assert not np.array_equal(first.pose, other.pose)
    assert np.ptp(first.pose, axis=0).min() > 0.1
    assert first.mel.shape == (4 * 36, 40)


def synthetic_clip(path, frames=10):
    rng = np.random.default_rng(0)
    np.savez(
        path,
        rgb=rng.integers(0, 255, (2 + frames, 128, 128, 3), np.uint8),
        cover=rng.integers(0, 255, (2 + frames, 128, 128), np.uint8),
        flow=rng.normal(0, 0.02, (2, frames, 2, 64, 64)).astype(np.float16),
        visible=rng.integers(0, 255, (2, frames, 64, 64), np.uint8),
        pose=np.zeros((2, 3), np.float32),
        blink=np.zeros((2, 2), np.float32),
        points=rng.uniform(20, 100, (2, 478, 3)).astype(np.float32),
        pose_change=rng.normal(0, 5, (2, frames, 3)).astype(np.float32),
        blink_change=rng.normal(0, 0.1, (2, frames, 2)).astype(np.float32),
        regions=np.full((frames, 3, 4), 0.3, np.float32),
        mel=rng.normal(0, 1, (4 * (frames + 16), 40)).astype(np.float16),
        jaw=np.zeros(frames, np.float32),
        spoken=np.zeros((frames, len(UNITS)), np.float32),
        kind=np.array("still"),
    )


def test_batches_repeat_with_their_seed(tmp_path):
    synthetic_clip(tmp_path / "0.npz")
    store = ClipStore(tmp_path)
    one, two = (store.batch(np.random.default_rng(5), 2, 6) for _ in range(2))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(two, name)), name
    assert one.frames.shape == (2, 6, 3, 128, 128) and one.mel.shape == (2, 4 * 22, 40)
    assert one.flow.shape == (2, 6, 2, 64, 64) and one.source.min() >= 0 and one.source.max() <= 1


@torch.inference_mode(False)
def test_export_is_read_back(tmp_path):
    networks = new_networks(0)
    paths = []
    for names in (["autoencoder"], ["denoiser", "audio_encoder"], ["motion.0"]):
        chosen = torch.nn.ModuleDict({name.split(".")[0]: networks[name] for name in names})
        paths.append(tmp_path / f"{names[0]}.pt")
        Progress(chosen, paths[-1], 1, 1e-3).save()
    size = export(paths, tmp_path / "model.safetensors")
    assert size < 12 * 10**6
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.config == DAWN_NANO
    loaded = load_networks(checkpoint, dtype=torch.float32)
    weight = loaded["denoiser"].output.weight
    assert torch.allclose(weight, networks["denoiser"].output.weight, atol=1e-3)


def test_synchrony_prefers_the_own_sound():
    rng = np.random.default_rng(0)
    sounds = [np.convolve(rng.normal(size=120), np.hanning(7), "same") for _ in range(4)]
    difference, lag = metrics.synchrony([np.roll(s, 1) for s in sounds], sounds)
    assert difference > 0.4 and lag == 1


def test_blinks_are_counted():
    openness = np.full(100, 0.3)
    openness[[20, 21, 60]] = 0.05
    assert metrics.blinks_seen(openness, [20, 40]) == (1, 1)
