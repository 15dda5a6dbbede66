"""Pasting back gives the picture of the plain computation, whatever is mixed, cut into pieces or put together."""

from __future__ import annotations

import pytest
import torch
from live_bytes import LiveBytes
from noise_portrait import noise_motion, noise_portrait
from plain_paste_back import PlainPasteBack, plain_paste_back

import dawn_model.paste_back.bands as pieces
import dawn_model.paste_back.paste as paste
from dawn_model.face.portrait import Portrait
from dawn_model.memory import WORKSPACE, pasting_need
from dawn_model.paste_back.bands import Band
from dawn_model.paste_back.colour_match import ColourMatch
from dawn_model.paste_back.paste import PasteBack, PasteOptions, paste_back

CLOSE = 0.1 / 255
HEIGHT, WIDTH = 150, 210


def make_portrait(angle: float = 0.0, **region: float) -> Portrait:
    return noise_portrait(HEIGHT, WIDTH, 30, angle, **region)


def both(portrait, frames, size=(HEIGHT, WIDTH), mask=None, motion=None, onto=None, at_once=1, **options):
    """Ours and the plain computation's frames."""
    given = portrait, frames.shape[1], size, PasteOptions(**options), mask, motion
    ours, plain = PasteBack(*given), PlainPasteBack(*given)
    assert torch.allclose(ours.mask[plain.part], plain.alpha, atol=1e-5)
    colours = ColourMatch.between(frames, ours.reference, ours.weight, 1.0)
    return paste_back(ours, frames, colours, onto, at_once=at_once), plain_paste_back(
        plain, frames, colours, onto
    )


def apart(pair) -> float:
    ours, plain = pair
    assert ours.shape == plain.shape
    return float((ours - plain).abs().max())


@pytest.fixture(params=[0.0, 0.4], ids=["upright", "turned"])
def portrait(request):
    return make_portrait(request.param)


@pytest.mark.parametrize("side", [32, 64, 200], ids=["enlarged", "as rendered", "upscaled"])
@pytest.mark.parametrize("detail", ["moves", "lips", "rests", "none"])
def test_frames_of_every_kind(portrait, side, detail):
    motion = noise_motion(2, lips=detail == "lips") if detail in ("moves", "lips") else None
    frames = torch.rand(2, side, side, 3)
    if detail == "rests":  # some of the picture's detail stays where the frames show what the picture shows
        frames = 0.05 * frames + PasteBack(portrait, side, (HEIGHT, WIDTH), PasteOptions()).reference
    pair = both(portrait, frames, motion=motion, detail=0.0 if detail == "none" else 0.7)
    assert apart(pair) < CLOSE
    assert float((pair[0][0] - portrait.picture).abs().max()) > 0.02


@pytest.mark.parametrize("size", [(60, 84), (40, 90), (300, 420)])
def test_results_of_every_size(portrait, size):
    for side in (32, 64, 200):
        frames = torch.rand(1, side, side, 3)
        assert apart(both(portrait, frames, size, motion=noise_motion(1), region="face")) < CLOSE


@pytest.mark.parametrize("region", [{"x": 15.0}, {"y": 140.0, "side": 80.0}, {"side": 260.0}, {"x": 400.0}])
def test_a_square_that_reaches_beyond_the_picture(region):
    for angle in (0.0, 0.4):
        frames = torch.rand(1, 64, 64, 3)
        assert apart(both(make_portrait(angle, **region), frames, motion=noise_motion(1))) < CLOSE


@pytest.mark.parametrize("threads", [1, 3, 7, 64])
@pytest.mark.parametrize("at_once", [1, 3])
def test_pieces_and_batches(portrait, monkeypatch, threads, at_once):
    """Parts are no multiple of the pieces, clips none of the batches."""
    monkeypatch.setattr(pieces.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(pieces, "_PIXELS", 1000)
    frames = torch.rand(5, 64, 64, 3)
    assert apart(both(portrait, frames, motion=noise_motion(5), at_once=at_once)) < CLOSE
    assert apart(both(portrait, frames, at_once=at_once)) < CLOSE


@pytest.mark.parametrize(("frames", "others"), [(3, 20), (20, 3), (18, 17), (2, 2)])
def test_onto_another_clip_with_a_mask(portrait, frames, others):
    """Either may end first, in the middle of a group or of a batch."""
    onto, mask = torch.rand(others, HEIGHT, WIDTH, 4), torch.rand(HEIGHT, WIDTH)
    clip = torch.rand(frames, 32, 32, 4)
    for at_once in (1, 4):
        pair = both(portrait, clip, mask=mask, motion=noise_motion(frames), onto=onto, at_once=at_once)
        assert apart(pair) < CLOSE


def test_half_precision_and_a_start_in_the_middle(portrait):
    frames, motion = torch.rand(20, 32, 32, 3), noise_motion(20)
    paster = PasteBack(portrait, 32, (HEIGHT, WIDTH), PasteOptions(), motion=motion)
    whole = paste_back(paster, frames, ColourMatch.none())
    half = torch.zeros(20, HEIGHT, WIDTH, 3, dtype=torch.float16)
    calls = []
    paste_back(paster, frames, ColourMatch.none(), out=half, callback=lambda *n: calls.append(n), first=7)
    assert calls == [(done, 20) for done in range(8, 21)]
    assert half[:7].abs().max() == 0 and torch.equal(half[7:], whole[7:].half())


@pytest.mark.parametrize("side", [128, 640], ids=["as rendered", "upscaled"])
@pytest.mark.parametrize("angle", [0.0, 0.4], ids=["upright", "turned"])
def test_memory_on_a_device_is_no_more_than_estimated(monkeypatch, angle, side):
    """Counted on the CPU, in one piece as on a device; a result of the size of the part is taken off."""
    monkeypatch.setattr(paste, "bands", lambda height, width, device: [Band(0, 1, height)])
    portrait, size, count = make_portrait(angle), (3 * HEIGHT, 3 * WIDTH), 4
    frames = torch.rand(count, side, side, 3)
    for motion in (noise_motion(count), noise_motion(count, lips=True), None):
        paster = PasteBack(portrait, side, size, PasteOptions(), None, motion)
        height, width = paster._alpha.shape[1:]
        out = torch.empty(count, *size, 3)
        with LiveBytes() as live:
            paste_back(paster, frames, ColourMatch.none(), out=out, at_once=count)
        need = pasting_need(count, (height, width), side)
        assert live.peak < need.bytes(count) - WORKSPACE, (motion is None, live.peak, need)
