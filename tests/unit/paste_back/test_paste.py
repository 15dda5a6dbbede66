"""Animated squares back in their picture: exact where nothing moves, sharp where it does, without a seam."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dawn_model.face.crop import Crop, crop_face, resize
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.portrait import Portrait
from dawn_model.flow_autoencoder.warping import warp
from dawn_model.paste_back.colour_match import ColourMatch, ColourSums
from dawn_model.paste_back.paste import PasteBack, PasteOptions, fit_within, paste_back
from dawn_model.structures import MotionLatents

ROOT = Path(__file__).resolve().parents[3]
SIDE = 128


@pytest.fixture(scope="module")
def picture():
    photo = Image.open(ROOT / "media" / "portraits" / "astronaut.png").convert("RGB")
    return torch.from_numpy(np.array(photo)).float() / 255


@pytest.fixture(scope="module")
def points(picture):
    return FaceLandmarker.load()(picture)[0].points


@pytest.fixture(params=[False, True], ids=["upright", "turned"])
def portrait(request, picture, points):
    crop = crop_face(points, *picture.shape[:2], SIDE)
    if request.param:
        crop = dataclasses.replace(crop, region=dataclasses.replace(crop.region, angle=0.4))
    return Portrait(picture, points, crop)


def at_rest(portrait, side=SIDE, frames=1):
    """Frames of a perfect autoencoder when nothing moves."""
    crop = Crop(portrait.crop.region, side, portrait.crop.height, portrait.crop.width)
    return crop.cut(portrait.picture)[None].repeat(frames, 1, 1, 1)


def pasted(portrait, frames, size=None, mask=None, motion=None, onto=None, **options):
    options = PasteOptions(**options)
    paster = PasteBack(portrait, frames.shape[1], size or portrait.picture.shape[:2], options, mask, motion)
    colours = ColourMatch.between(frames, paster.reference, paster.weight, options.colour_match)
    return paste_back(paster, frames, colours, onto), paster.mask


def psnr(a, b):
    return -10 * math.log10(float((a - b).square().mean()) + 1e-20)


def head_turned(side: int, reach: float = 0.12) -> MotionLatents:
    """A flow that moves the middle of the square and leaves its border, everything visible."""
    ticks = (torch.arange(side) + 0.5) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    bell = (1 - (grid.norm(dim=-1) / 0.8).clamp(0, 1)).square() * 2
    flow = grid - bell[..., None] * torch.tensor([reach, reach / 2])
    return MotionLatents(flow[None], torch.ones(1, 1, side, side))


def moved(portrait, motion):
    """What a perfect autoencoder makes of the motion, at the frames' size."""
    source = at_rest(portrait).movedim(-1, 1)
    return F.grid_sample(source, motion.flow, padding_mode="border", align_corners=False).movedim(1, -1)


# --- nothing moves ---


@pytest.mark.parametrize("region", ["square", "face"])
def test_zero_motion_gives_the_picture_back(portrait, region):
    for side in (64, SIDE, 512):
        result, _ = pasted(portrait, at_rest(portrait, side), region=region)
        assert psnr(result[0], portrait.picture) > 60, side
    plain, _ = pasted(portrait, at_rest(portrait), region=region, detail=0.0)
    assert psnr(plain[0], portrait.picture) > 40, "even without the picture's own detail"


def test_outside_the_square_the_picture_is_untouched(portrait):
    result, mask = pasted(portrait, torch.zeros(2, SIDE, SIDE, 3), colour_match=0.0, detail=0.0)
    outside = mask[..., 0] == 0
    assert 0.7 < outside.float().mean() < 0.95
    assert torch.equal(result[:, outside], portrait.picture[None, outside].expand(2, -1, -1))
    inside = mask[..., 0] == 1
    assert result[:, inside].max() < 1e-6


def test_the_result_may_be_smaller(portrait):
    size = fit_within(512, 512, 200)
    assert (
        size == (200, 200)
        and fit_within(300, 600, 0) == (300, 600)
        and fit_within(300, 600, 900) == (300, 600)
    )
    assert fit_within(1080, 1920, 640) == (360, 640)
    result, mask = pasted(portrait, at_rest(portrait), size)
    assert result.shape == (1, 200, 200, 3) and mask.shape == (200, 200, 1)
    assert psnr(result[0], resize(portrait.picture, *size)) > 40


def test_half_precision_out(portrait):
    frames = at_rest(portrait, frames=2)
    paster = PasteBack(portrait, SIDE, (512, 512), PasteOptions())
    plain = ColourMatch(torch.ones(3), torch.zeros(3))
    half = paste_back(paster, frames.half(), plain, out=torch.empty(2, 512, 512, 3, dtype=torch.float16))
    assert half.dtype == torch.float16
    assert psnr(half[1].float(), portrait.picture) > 50


# --- something moves ---


def test_with_the_motion_the_head_stays_as_sharp_as_the_picture(portrait):
    """Against the picture itself, moved at its full resolution."""
    small = at_rest(portrait, 48)
    flow = head_turned(48)
    frames = F.grid_sample(
        small.movedim(-1, 1), flow.flow, padding_mode="border", align_corners=False
    ).movedim(1, -1)
    without, mask = pasted(portrait, frames)
    with_motion, _ = pasted(portrait, frames, motion=flow)

    large = at_rest(portrait, 384).movedim(-1, 1)
    grid = F.interpolate(flow.flow.movedim(-1, 1), size=384, mode="bilinear").movedim(1, -1)
    sharp = warp(large, grid).movedim(1, -1)
    expected, _ = pasted(portrait, sharp, detail=0.0)
    middle = mask[..., 0] == 1
    assert (
        psnr(with_motion[0][middle], expected[0][middle]) > psnr(without[0][middle], expected[0][middle]) + 6
    )


def test_what_is_hidden_gets_no_detail(portrait):
    motion = head_turned(32)
    hidden = MotionLatents(motion.flow, torch.zeros_like(motion.occlusion))
    frames = moved(portrait, head_turned(SIDE))
    assert torch.allclose(
        pasted(portrait, frames, motion=hidden)[0], pasted(portrait, frames, detail=0.0)[0], atol=1e-6
    )


def test_no_seam_round_a_moving_head(portrait):
    """The change that pasting makes fades: from pixel to pixel it never steps by more than the picture does."""
    frames = moved(portrait, head_turned(SIDE))
    result, mask = pasted(portrait, frames)
    border = (mask[..., 0] > 0) & (mask[..., 0] < 0.1)
    assert border.sum() > 500
    assert (result[0] - portrait.picture).abs()[border].max() < 0.06
    hard, hard_mask = pasted(portrait, frames * 0.5, feather=0.0, colour_match=0.0)
    edge = (hard_mask[..., 0] > 0) & (mask[..., 0] < 0.1)
    assert (hard[0] - portrait.picture).abs()[edge].max() > 0.2, "this measure sees seams"


def test_the_face_alone(portrait, points):
    frames = torch.zeros(1, SIDE, SIDE, 3)
    _, square = pasted(portrait, frames, region="square")
    _, face = pasted(portrait, frames, region="face")
    assert face.sum() < 0.6 * square.sum()
    chin, forehead = points[152, :2].round().long(), points[10, :2].round().long()
    for x, y in (chin.tolist(), forehead.tolist(), points[1, :2].round().long().tolist()):
        assert face[y, x] > 0.3


def test_colours_follow_the_picture(portrait):
    frames = (
        at_rest(portrait, frames=3) * torch.tensor([0.85, 0.9, 1.0]) + torch.tensor([0.0, 0.05, 0.06])
    ).clamp(0, 1)
    matched, _ = pasted(portrait, frames)
    plain, _ = pasted(portrait, frames, colour_match=0.0)
    half, _ = pasted(portrait, frames, colour_match=0.5)
    errors = [float((result - portrait.picture).abs().mean()) for result in (matched, half, plain)]
    assert errors[0] < 0.25 * errors[2] and errors[0] < errors[1] < errors[2]
    assert torch.equal(matched[0], matched[2]), "nothing flickers"


def test_colours_measured_in_parts_are_exactly_those_of_the_whole():
    frames, weight = torch.rand(11, 24, 24, 3), torch.rand(16, 16, 1)
    frames[7] *= 1e-3  # sums of large and small numbers
    whole = ColourSums.of(frames, weight)
    parts = [ColourSums.of(frames[part], weight) for part in (slice(8, 11), slice(0, 1), slice(1, 8))]
    together = parts[0] + parts[1] + parts[2]
    assert together.frames == 11 and torch.equal(together.sums, whole.sums)
    assert torch.equal(ColourSums.from_text(whole.to_text()).sums, whole.sums)
    means = torch.stack([(frame * 1.0).mean((0, 1)) for frame in frames]).mean(0)
    even = ColourSums.of(frames, torch.ones(4, 4, 1)).mean_and_spread()
    assert torch.allclose(even[0], means, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["", "red", "[1]", '{"frames": 0, "sums": [[1,1,1],[1,1,1]]}', '{"frames": 2, "sums": [1]}']
)
def test_what_holds_no_colours_is_refused(text):
    with pytest.raises(ValueError, match="holds no measured colors"):
        ColourSums.from_text(text)


def test_a_black_mask_keeps_the_picture(portrait):
    mask = torch.ones(512, 512)
    mask[:, 200:] = 0
    result, out = pasted(portrait, torch.zeros(1, SIDE, SIDE, 3), mask=mask, colour_match=0.0)
    assert torch.equal(result[0, :, 200:], portrait.picture[:, 200:]) and out[:, 200:].max() == 0
    assert (result[0, :, :200] - portrait.picture[:, :200]).abs().max() > 0.3
    assert out[:, :200].max() == 1


def test_one_clip_is_pasted_onto_another(portrait):
    onto = torch.rand(3, 512, 512, 3)
    frames = torch.stack([torch.zeros(SIDE, SIDE, 3), torch.ones(SIDE, SIDE, 3)])
    result, mask = pasted(portrait, frames, onto=onto, colour_match=0.0, detail=0.0)
    assert len(result) == 3
    outside, inside = mask[..., 0] == 0, mask[..., 0] == 1
    assert torch.equal(result[:, outside], onto[:, outside])
    assert result[0, inside].max() < 1e-5 and result[1, inside].min() > 1 - 1e-5
    assert torch.equal(result[2, inside], result[1, inside]), "the shorter one rests on its last frame"
    longer, _ = pasted(portrait, frames, onto=onto[:1], colour_match=0.0)
    assert len(longer) == 2 and torch.equal(longer[1, outside], onto[0, outside])


def test_nothing_is_changed_in_place(portrait):
    before, frames = portrait.picture.clone(), at_rest(portrait, frames=2)
    copy, onto = frames.clone(), torch.rand(2, 512, 512, 3)
    copied = onto.clone()
    pasted(
        portrait,
        frames,
        onto=onto,
        motion=MotionLatents(head_turned(32).flow.repeat(2, 1, 1, 1), torch.ones(2, 1, 32, 32)),
    )
    assert torch.equal(portrait.picture, before) and torch.equal(frames, copy) and torch.equal(onto, copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "nose"}, r"region: 'nose' is none; choose one of square, face"),
        ({"feather": 0.4}, r"feather: 0\.4 of the square's side can not fade; give 0 to 0\.25"),
        ({"feather": math.nan}, r"feather: nan"),
        ({"colour_match": 2.0}, r"colour_match: 2\.0 is no share; give 0 to 1"),
        ({"detail": math.nan}, r"detail: nan is no share"),
    ],
)
def test_options_that_are_none(portrait, options, message):
    with pytest.raises(ValueError, match=message):
        pasted(portrait, at_rest(portrait), **options)


# --- memory ---

MEASURE = """
import resource, sys
import torch
from dawn_model.paste_back.colour_match import ColourMatch
from dawn_model.face.crop import crop_face
from dawn_model.paste_back.paste import PasteBack, PasteOptions, paste_back
from dawn_model.face.portrait import Portrait
from dawn_model.structures import MotionLatents

torch.set_grad_enabled(False)
height, width, side, count = 1080, 1920, 256, int(sys.argv[1])
turn = torch.arange(478) * 0.7
points = torch.stack([960 + 260 * turn.cos(), 540 + 260 * turn.sin(), 9 * turn.cos()], dim=1)
portrait = Portrait(torch.rand(height, width, 3), points, crop_face(points, height, width, side))
frames = torch.rand(1, side, side, 3).expand(count, -1, -1, -1)
flow, occlusion = torch.rand(1, 64, 64, 2), torch.rand(1, 1, 64, 64)
motion = MotionLatents(flow.expand(count, -1, -1, -1), occlusion.expand(count, -1, -1, -1))
out = torch.ones(20, height, width, 3)[:count]  # written to, so that the output itself is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
paster = PasteBack(portrait, side, (height, width), PasteOptions(), torch.ones(height, width), motion)
paste_back(paster, frames, ColourMatch.between(frames, paster.reference, paster.weight, 1.0), None, out)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""


def test_memory_does_not_grow_with_the_clip():
    """At 1920×1080, beside the result; the square is as high as the picture."""
    gigabytes = []
    for count in (3, 20):
        command = [sys.executable, "-c", MEASURE, str(count)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        gigabytes.append(float(done.stdout))
    assert max(gigabytes) < 1
    assert gigabytes[1] - gigabytes[0] < 0.05
