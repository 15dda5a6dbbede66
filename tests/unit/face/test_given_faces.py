"""Boxes, landmarks and masks from elsewhere, and pictures of every kind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dawn_model.face.given_faces import (
    boxes_for,
    faces_from_landmarks,
    faces_in_boxes,
    inside_mask,
    parse_box,
)
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.picture import mask_for, to_pictures
from dawn_model.face.state import head_pose

PORTRAIT = Path(__file__).resolve().parents[3] / "media" / "portraits" / "astronaut.png"
CORE_BOX = {"x": 180.0, "y": 70.0, "width": 90.0, "height": 110.0, "label": "face", "score": 0.9}


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker.load()


@pytest.fixture(scope="module")
def picture():
    return torch.from_numpy(np.array(Image.open(PORTRAIT).convert("RGB"))).float() / 255


@pytest.fixture(scope="module")
def face(landmarker, picture):
    return landmarker(picture)[0]


# --- boxes ---


def test_a_box_by_hand():
    assert parse_box("10, 20, 30, 40").tolist() == [10, 20, 40, 60]
    assert parse_box(" 10;20 30.5,40 ").tolist() == [10, 20, 40.5, 60]
    assert parse_box("") is None and parse_box("  ") is None and parse_box("0, 0, 0, 0") is None


@pytest.mark.parametrize("text", ["1, 2, 3", "1,2,3,4,5", "left", "1, 2, nan, 4", "1, 2, inf, 4"])
def test_text_that_is_no_box(text):
    with pytest.raises(ValueError, match=r"box: .* is no box\. Write x, y, width, height in pixels"):
        parse_box(text)


def test_a_box_without_area():
    with pytest.raises(ValueError, match=r"box: 0×4 pixels hold nothing"):
        parse_box("1, 2, 0, 4")


@pytest.mark.parametrize("boxes", [CORE_BOX, [CORE_BOX], [[CORE_BOX]], ({**CORE_BOX},)])
def test_boxes_in_every_structure_of_cores(boxes):
    (found,) = boxes_for(boxes, 1)
    assert [box.tolist() for box in found] == [[180, 70, 270, 180]]
    assert len(boxes_for(boxes, 3)) == 3


@pytest.mark.parametrize("boxes", ["face", 7, [[{"x": 1}]], [7], [[None]], [[[CORE_BOX]]]])
def test_what_is_no_box(boxes):
    with pytest.raises(ValueError, match=r"bounding_box: expected boxes with x, y, width and height"):
        boxes_for(boxes, 1)


def test_boxes_of_other_pictures():
    with pytest.raises(ValueError, match=r"bounding_box: boxes of 2 pictures arrived for 3 pictures"):
        boxes_for([[CORE_BOX], [CORE_BOX]], 3)


def test_the_face_in_a_box_is_the_face_that_is_found(landmarker, picture, face):
    empty = torch.tensor([400.0, 0.0, 480.0, 90.0])
    (found,) = faces_in_boxes(landmarker, picture, [*boxes_for(CORE_BOX, 1)[0], empty], 0.5, "box")
    assert (found.points - face.points)[:, :2].norm(dim=1).mean() < 1.5


def test_a_box_without_a_face(landmarker, picture):
    with pytest.raises(ValueError, match=r"box: no face is seen in it \(certainty \d+%, threshold 50%\)"):
        faces_in_boxes(landmarker, picture, [torch.tensor([300.0, 300.0, 400.0, 400.0])], 0.5, "box")
    with pytest.raises(ValueError, match=r"box: The face box .* is empty or outside the picture"):
        faces_in_boxes(landmarker, picture, [torch.tensor([900.0, 0.0, 990.0, 90.0])], 0.5, "box")
    with pytest.raises(ValueError, match=r"bounding_box: there is no box for this picture"):
        faces_in_boxes(landmarker, picture, [], 0.5, "bounding_box")


# --- landmarks ---


def core_landmarks(face) -> dict:
    """As ComfyUI's own landmarker gives them: depth in pixels of its view of the face, which is 192 wide
    and turned with the head."""
    zoom, angle = 192 / 150, math.radians(10)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    deep = face.points.clone() * zoom
    deep[:, :2] = deep[:, :2] @ turn
    return {
        "bbox_xyxy": face.box.numpy(),
        "landmarks_xy": face.points[:, :2].numpy(),
        "landmarks_3d": deep.numpy(),
        "presence": 4.0,
        "score": face.score,
    }


def test_cores_landmarks_are_our_points(face):
    ((found,),) = faces_from_landmarks(
        {"frames": [[core_landmarks(face)]], "image_size": (512, 512)}, 1, 512, 512
    )
    assert torch.allclose(found.points, face.points, atol=1e-3)
    assert torch.allclose(head_pose(found.points), head_pose(face.points), atol=1e-2)
    assert found.presence > 0.95 and found.score == face.score


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_size": (256, 512)},
            r"face_landmarks: they are of a picture of 512×256, this one is 512×512",
        ),
        ({"frames": [[], []]}, r"face_landmarks: those of 2 pictures arrived for 1"),
        ({"frames": [[{}]]}, r"face_landmarks: expected what ComfyUI's Detect Face Landmarks"),
        ({"frames": None}, r"face_landmarks: expected what ComfyUI's"),
    ],
)
def test_landmarks_that_do_not_fit(face, change, message):
    landmarks = {"frames": [[core_landmarks(face)]], "image_size": (512, 512), **change}
    with pytest.raises(ValueError, match=message):
        faces_from_landmarks(landmarks, 1, 512, 512)


def test_landmarks_of_another_number(face):
    few = {**core_landmarks(face), "landmarks_xy": np.zeros((68, 2))}
    with pytest.raises(ValueError, match=r"face_landmarks: expected 478 points, got \[68, 2\]"):
        faces_from_landmarks({"frames": [[few]], "image_size": (512, 512)}, 1, 512, 512)


# --- masks and pictures ---


def test_a_mask_says_which_faces_count(face):
    left, top, right, bottom = face.box.round().long().tolist()
    mask = torch.zeros(512, 512)
    with pytest.raises(ValueError, match=r"mask: of 1 faces in the picture none lies in the white part"):
        inside_mask([face], mask)
    mask[top:bottom, left:right] = 1
    assert inside_mask([face], mask) == [face]
    assert inside_mask([], mask) == []


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 64, 64), r"mask: it is 64×64, the picture is 30×20\."),
        (torch.zeros(3, 20, 30), r"mask: 3 masks arrived for 2 pictures"),
        (torch.full((1, 20, 30), torch.nan), r"mask: it holds values that are not numbers"),
    ],
)
def test_masks_that_do_not_fit(mask, message):
    with pytest.raises(ValueError, match=message):
        mask_for(mask, 2, 20, 30)


def test_transparency_shows_the_background():
    image = torch.cat([torch.full((2, 4, 4, 3), 0.25), torch.zeros(2, 4, 4, 1)], dim=-1)
    image[:, 0, 0, 3], image[:, 0, 1, 3] = 1, 0.5
    for background, expected in {"white": 1.0, "#000000": 0.0, "#FF00ff": (1, 0, 1)}.items():
        first, second = to_pictures(image, background)
        behind = torch.tensor(expected).expand(3).float()
        assert torch.equal(first, second)
        assert torch.allclose(first[3, 3], behind) and torch.allclose(first[0, 0], torch.full((3,), 0.25))
        assert torch.allclose(first[0, 1], 0.5 * behind + 0.125)
    with pytest.raises(ValueError, match=r"background: 'sky' is no color\. Write a name such as"):
        to_pictures(image, "sky")
