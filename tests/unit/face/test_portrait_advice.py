"""What is said of a portrait that may disappoint, and nothing of a good one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dawn_model.face.advice import portrait_advice
from dawn_model.face.crop import crop_face
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.portrait import Portrait

PORTRAIT = Path(__file__).resolve().parents[3] / "media" / "portraits" / "astronaut.png"


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker.load()


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


def advice(
    landmarker, image: Image.Image, align_roll: bool = False, moved: dict[int, tuple] | None = None
) -> str:
    picture = torch.from_numpy(np.asarray(image, np.float32) / 255)
    points = landmarker(picture)[0].points.clone()
    for index, offset in (moved or {}).items():
        points[index, :2] += torch.tensor(offset)
    crop = crop_face(points, *picture.shape[:2], 256, align_roll=align_roll)
    return " ".join(portrait_advice(Portrait(picture, points, crop)))


def test_a_good_portrait_needs_none(landmarker, astronaut):
    shut = {13: (0.0, 4.0), 14: (0.0, -4.0)}  # her smile, with lips that meet
    assert advice(landmarker, astronaut, moved=shut) == ""


def test_an_open_mouth(landmarker, astronaut):
    assert "The mouth is open" in advice(landmarker, astronaut)


def test_a_small_face(landmarker, astronaut):
    assert "The face is 36 pixels high" in advice(
        landmarker, astronaut.resize((200, 200), Image.Resampling.BOX)
    )


def test_a_lying_head(landmarker, astronaut):
    lying = astronaut.transpose(Image.Transpose.ROTATE_90)
    assert "leans by 87°. Switch on align_roll" in advice(landmarker, lying)
    assert "align_roll" not in advice(landmarker, lying, align_roll=True)


def test_shut_eyes(landmarker, astronaut):
    lids = {index: (0.0, 4.0) for index in (160, 158, 385, 387)}
    assert "The eyes are half shut" in advice(landmarker, astronaut, moved=lids)


def test_a_face_at_the_border(landmarker, astronaut):
    assert "reaches the picture's border" in advice(landmarker, astronaut.crop((150, 90, 300, 512)))
