"""Box mask, box encoder and condition rows."""

from __future__ import annotations

import pytest
import recipe
import torch

from dawn_model.audio.articulation import mouth_of
from dawn_model.config import DAWN_NANO, DenoiserConfig
from dawn_model.denoiser.box_encoder import BoxEncoder, authors_box_encoder, box_mask
from dawn_model.denoiser.conditioning import condition_rows, denoiser_condition, lips_shut, mouth_condition
from dawn_model.denoiser.face_code import CHANNELS, GAP_CHANNEL, MOUTH_UNIT
from dawn_model.structures import FaceState, HeadMotion


def golden_mask(row: torch.Tensor, size: int) -> torch.Tensor:
    """Our mask for a golden row [x_min, x_max, y_min, y_max, H, W], made with H and W exchanged.

    That is the authors' mistake, put back to compare with their numbers.
    """
    x_min, x_max, y_min, y_max, height, width = row
    return box_mask(torch.stack([x_min, y_min, x_max, y_max]), int(width), int(height), size)


@pytest.mark.parametrize("size", [128, 256])
def test_box_mask_golden(golden, size):
    reference = golden("face_loc")
    ranges = reference[f"rect_{size}.row0_row1_col0_col1_inclusive"].tolist()
    for row, (top, bottom, left, right) in zip(reference["bbox"], ranges, strict=True):
        expected = torch.zeros(1, 1, size, size)
        if top >= 0:
            expected[:, :, top : bottom + 1, left : right + 1] = 1
        assert torch.equal(golden_mask(row, size), expected), row.tolist()


def test_box_mask_of_a_landscape_picture_lies_on_the_face():
    """A face at x 320..640, y 0..240 of 640 × 480 is the right half of the upper half."""
    mask = box_mask(torch.tensor([320.0, 0.0, 638.0, 238.0]), height=480, width=640, size=64)
    assert torch.equal(mask[0, 0].nonzero().amin(0), torch.tensor([0, 32]))
    assert torch.equal(mask[0, 0].nonzero().amax(0), torch.tensor([32, 63]))


def test_box_mask_has_no_eight_bit_limit():
    mask = box_mask(torch.tensor([300.0, 400.0, 500.0, 500.0]), height=512, width=512, size=512)
    assert mask[0, 0, 450, 400] == 1
    assert mask[0, 0, 450 - 256, 400 - 256] == 0


def test_box_mask_does_not_change_its_input():
    box = torch.tensor([10.0, 20.0, 30.0, 40.0])
    assert torch.equal(box_mask(box, 100, 100, 128), box_mask(box, 100, 100, 128))
    assert box.tolist() == [10, 20, 30, 40]


def test_box_mask_refuses_other_shapes():
    with pytest.raises(ValueError, match="x_min, y_min, x_max, y_max"):
        box_mask(torch.zeros(1, 6), 100, 100, 128)


def test_box_encoder_golden(golden):
    reference = golden("face_loc")
    encoder = BoxEncoder().eval()
    encoder.load_state_dict(
        {
            key: recipe.weight(f"face_loc_emb.{key}", value.shape)
            for key, value in encoder.state_dict().items()
        }
    )
    for size, index in ((128, 4), (128, 2), (256, 4)):
        code = encoder(golden_mask(reference["bbox"][index], size))
        assert code.shape == (1, 16, size // 4, size // 4)
        stride = size // 128
        assert torch.allclose(
            code[:, :, ::stride, ::stride], reference[f"face_loc_{size}_bbox{index}"], atol=1e-6, rtol=0
        )


def test_the_shipped_box_encoder_is_the_golden_one(golden):
    shipped, reference = authors_box_encoder(), golden("face_loc_seed1234")
    assert {f"face_loc_emb.{key}" for key in shipped} == set(reference)
    for key, value in shipped.items():
        assert torch.equal(value, reference[f"face_loc_emb.{key}"])
    BoxEncoder().load_state_dict(shipped, strict=True)


@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_box_encoder_follows_the_latent_size(downscale):
    code = BoxEncoder(channels=4, downscale=downscale)(torch.zeros(1, 1, 32, 32))
    assert code.shape == (1, 4, 32 // downscale, 32 // downscale)


def test_box_encoder_refuses_other_downscales():
    with pytest.raises(ValueError, match="8"):
        BoxEncoder(downscale=8)


def face_and_motion(frames: int) -> tuple[FaceState, HeadMotion]:
    face = FaceState(
        pose=torch.tensor([5.0, -3.0, 1.0, 5e-4, 60.0, 64.0]),
        blink=torch.tensor([0.3, 0.28]),
        box=torch.tensor([32.0, 40.0, 96.0, 110.0]),
        height=128,
        width=128,
    )
    draws = torch.Generator().manual_seed(0)
    return face, HeadMotion(torch.randn(frames, 6, generator=draws), torch.rand(frames, 2, generator=draws))


def test_condition_rows():
    face, motion = face_and_motion(4)
    audio = torch.randn(4, 1024, generator=torch.Generator().manual_seed(1))
    rows = condition_rows(audio, motion, face)
    assert rows.shape == (4, 1032)
    assert torch.equal(rows[:, :1024], audio)
    assert torch.equal(rows[:, 1024:1030], motion.pose - face.pose)
    assert torch.equal(rows[:, 1030:], motion.blink - face.blink)


def test_condition_rows_name_the_lengths_that_differ():
    face, motion = face_and_motion(5)
    with pytest.raises(ValueError, match=r"4 frames.*5.*5"):
        condition_rows(torch.zeros(4, 1024), motion, face)


def articulation(gap=0.2, width=0.05, sound=14, frames=20):
    """A held vowel, or the class of another number."""
    rows = torch.zeros(frames, 19)
    rows[:, 0], rows[:, 1], rows[:, 2 + sound] = gap, width, 1.0
    return rows


def test_the_mouth_is_a_difference_from_the_portrait():
    closed, smiling = torch.tensor([0.01, 0.8]), torch.tensor([0.10, 1.1])
    first, second = (mouth_condition(articulation(), portrait) for portrait in (closed, smiling))
    assert first[0, 0] > 0.15
    assert torch.allclose(first[:, 0] + 0.01, second[:, 0] + 0.10), "the same gap from any portrait"
    assert second[0, 1] < -0.05, "a smile gives way to speech"


@pytest.mark.parametrize("sound", [0, 16])
def test_closures_and_long_silence_shut_the_lips(sound):
    rows = mouth_condition(articulation(gap=0.1, sound=sound), torch.tensor([0.12, 0.8]))
    assert (rows[:, 0] <= -0.12).all()


def test_a_short_pause_leaves_the_mouth():
    rows = articulation()
    rows[8:12] = articulation(gap=0.15, sound=16, frames=4)
    assert mouth_condition(rows, torch.tensor([0.0, 0.8]))[10, 0] > 0.1


def test_strength_of_the_mouth():
    portrait = torch.tensor([0.05, 0.8])
    still, half, whole, twice = (mouth_condition(articulation(), portrait, s) for s in (0.0, 0.5, 1.0, 2.0))
    assert not still.any()
    assert torch.allclose(half, whole / 2)
    assert torch.allclose(twice[:, 0] + 0.05, 2 * (whole[:, 0] + 0.05))


def test_the_authors_model_has_no_mouth_control():
    face, motion = face_and_motion(4)
    rows = torch.randn(4, 1024)
    assert torch.equal(
        denoiser_condition(DenoiserConfig(), rows, motion, face), condition_rows(rows, motion, face)
    )
    with pytest.raises(ValueError, match=r"mouth is 1\.5"):
        denoiser_condition(DenoiserConfig(), rows, motion, face, mouth=1.5)
    with pytest.raises(ValueError, match="mesh points"):
        denoiser_condition(DAWN_NANO.denoiser, rows[:, :19], motion, face)


@pytest.mark.parametrize("portrait", [0.03, 0.15])
@pytest.mark.parametrize(
    ("wanted", "expected"), [(0.0, 1.0), (0.01, 1.0), (0.03, 0.5), (0.05, 0.0), (0.2, 0.0)]
)
def test_lips_meet_by_the_gap_that_is_wanted(portrait, wanted, expected):
    """Whether they come nearer for it or part, and however open the portrait's mouth is."""
    articulation = torch.zeros(1, 19)
    articulation[0, 0] = wanted
    source = torch.zeros(1, CHANNELS, 4, 4)
    source[0, GAP_CHANNEL] = portrait / MOUTH_UNIT
    gap, _, _ = mouth_of(articulation)
    rows = mouth_condition(articulation, torch.tensor([portrait, 0.8]))
    rows[0, 0] = (wanted - portrait) * (
        rows[0, 0] / (gap[0] - portrait)
    )  # the gain, without that of `mouth_of`
    assert abs(float(lips_shut(rows, source)[0]) - expected) < 1e-3
