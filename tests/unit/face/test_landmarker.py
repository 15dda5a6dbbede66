"""The landmarker on a real portrait: found, placed, invariant, bounded."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dawn_model.face.crop import crop_face, resize
from dawn_model.face.detector import anchors
from dawn_model.face.landmarker import ASSETS, Face, FaceLandmarker, choose_face, order_faces
from dawn_model.face.overlay import draw_face_overlay
from dawn_model.face.state import face_state
from dawn_model.face.tflite_graph import TfliteGraph

PORTRAIT = Path(__file__).resolve().parents[3] / "media" / "portraits" / "astronaut.png"


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker.load()


@pytest.fixture(scope="module")
def astronaut():
    return torch.from_numpy(np.asarray(Image.open(PORTRAIT).convert("RGB"), np.float32) / 255)


@pytest.fixture(scope="module")
def face(landmarker, astronaut):
    (found,) = landmarker(astronaut)
    return found


@pytest.fixture(scope="module")
def state(face):
    return face_state(face.points, 512, 512)


def measure(landmarker, picture):
    height, width = picture.shape[:2]
    face = choose_face(landmarker(picture), height, width)
    return face, face_state(face.points, height, width)


def turned(picture, degrees):
    """Counter-clockwise about the middle of the face."""
    border = 512
    padded = np.pad(picture.numpy(), ((border, border), (border, border), (0, 0)), "symmetric")
    image = Image.fromarray((padded * 255).round().astype(np.uint8))
    centre = 225 + border, 128 + border
    image = image.rotate(degrees, Image.Resampling.BILINEAR, center=centre)
    return torch.from_numpy(np.asarray(image, np.float32) / 255)[border:-border, border:-border]


def two_faces(astronaut):
    """A large one on the right, a small one on the left."""
    canvas = torch.full((520, 900, 3), 0.4)
    canvas[:512, 380:892] = astronaut
    canvas[200:456, 40:296] = resize(astronaut, 256, 256)
    return canvas


def test_face_is_where_one_sees_it(face, state):
    assert face.score > 0.8 and face.presence > 0.95
    eyes = face.points[[468, 473], :2]  # irises: the subject's right, then left
    torch.testing.assert_close(eyes, torch.tensor([[204.0, 101.0], [247.0, 103.0]]), rtol=0, atol=2.0)
    assert state.box.tolist() == pytest.approx([179, 86, 271, 178], abs=4)
    assert state.blink.tolist() == pytest.approx([0.32, 0.32], abs=0.04)


def test_pose_is_plausible(state):
    yaw, pitch, roll, scale, x, y = state.pose.tolist()
    assert abs(yaw) < 4 and 3 < pitch < 12 and -6 < roll < 0
    assert 4.5e-4 < scale < 5.5e-4
    assert 55 < x < 65 and 65 < y < 85


def test_mirrored_picture_mirrors_yaw_and_roll(landmarker, astronaut, state):
    _, mirrored = measure(landmarker, astronaut.flip(1))
    expected = state.pose[:3] * torch.tensor([-1.0, 1.0, -1.0])
    torch.testing.assert_close(mirrored.pose[:3], expected, rtol=0, atol=2.0)
    assert mirrored.pose[4].item() == pytest.approx(120 - state.pose[4].item(), abs=4)


@pytest.mark.parametrize("degrees", [-15, 15])
def test_turned_picture_turns_roll(landmarker, astronaut, state, degrees):
    _, new = measure(landmarker, turned(astronaut, degrees))
    assert (new.pose[2] - state.pose[2]).item() == pytest.approx(degrees, abs=1.0)
    assert (new.pose[:2] - state.pose[:2]).abs().max() < 2.0


@pytest.mark.parametrize("degrees", [165, 180, 225])
def test_a_faded_head_is_found_any_way_up(landmarker, astronaut, face, degrees):
    """Of the two ways up that the detector's eyes allow, the wrong one was the surer: 18 to 70 pixels off."""
    padded = Image.fromarray((astronaut.numpy() * 255).round().astype(np.uint8))
    picture = torch.from_numpy(
        np.asarray(padded.rotate(-degrees, Image.Resampling.BICUBIC), np.float32) / 255
    )
    found = choose_face(landmarker(0.375 + 0.25 * picture), 512, 512).points[:, :2] - 255.5
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    assert (found - (face.points[:, :2] - 255.5) @ turn).norm(dim=1).mean() < 10


@pytest.mark.parametrize("size", [256, 1024])
def test_scaled_picture_keeps_the_angles(landmarker, astronaut, face, state, size):
    new_face, new = measure(landmarker, resize(astronaut, size, size))
    torch.testing.assert_close(new.pose[:3], state.pose[:3], rtol=0, atol=1.5)
    back = (new_face.points[:, :2] + 0.5) * 512 / size - 0.5
    assert (back - face.points[:, :2]).norm(dim=1).mean() < 1.0  # pixels of 512; the eyes are 60 apart


def test_shifted_picture_keeps_the_angles(landmarker, astronaut, state):
    _, new = measure(landmarker, astronaut.roll((40, -60), (0, 1)))
    torch.testing.assert_close(new.pose[:3], state.pose[:3], rtol=0, atol=1.0)
    torch.testing.assert_close(
        new.box - state.box, torch.tensor([-60.0, 40.0, -60.0, 40.0]), rtol=0, atol=2.0
    )


def test_crop_measures_the_same(landmarker, astronaut, face, state):
    crop = crop_face(face.points, 512, 512, 256)
    _, again = measure(landmarker, crop.cut(astronaut))
    moved = face_state(crop.to_crop(face.points), 256, 256)
    torch.testing.assert_close(again.pose[:3], state.pose[:3], rtol=0, atol=1.5)
    torch.testing.assert_close(again.box, moved.box, rtol=0, atol=5.0)


def test_several_faces_in_each_order(landmarker, astronaut):
    picture = two_faces(astronaut)
    faces = landmarker(picture)
    assert len(faces) == 2
    large, small = faces
    assert large.box[0] > 380 > small.box[2]
    assert choose_face(faces, 520, 900, "size", 1) is small
    assert choose_face(faces, 520, 900, "left-to-right", 0) is small
    assert choose_face(faces, 520, 900, "confidence", 0) is max(faces, key=lambda face: face.score)


def test_small_face_in_a_large_picture(landmarker, astronaut):
    picture = torch.full((1024, 1600, 3), 0.3)
    picture[500:700, 1200:1400] = resize(astronaut, 200, 200)
    (face,) = landmarker(picture)
    assert 1250 < face.box[0] < face.box[2] < 1320


def test_box_given_by_hand(landmarker, astronaut, face, state):
    found = landmarker.at_box(astronaut, torch.tensor([165.0, 60.0, 290.0, 190.0]))
    assert found.presence > 0.95
    assert (found.points - face.points)[:, :2].norm(dim=1).mean() < 1.5
    nothing = landmarker.at_box(astronaut, torch.tensor([400.0, 400.0, 500.0, 500.0]))
    assert nothing.presence < 0.5
    for box in ([10, 10, 10, 20], [600, 0, 700, 50], [-50, 0, -1, 50]):
        with pytest.raises(ValueError, match="empty or outside the picture"):
            landmarker.at_box(astronaut, torch.tensor(box))


def test_following_from_frame_to_frame(landmarker, astronaut, face):
    followed = landmarker.follow(astronaut.roll(12, 1), face)
    assert followed.presence > 0.95
    offset = (followed.points - face.points)[:, :2].mean(0)
    torch.testing.assert_close(offset, torch.tensor([12.0, 0.0]), rtol=0, atol=0.5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 3000), (3000, 1), (31, 64), (60, 5000)])
def test_odd_sizes_hold_no_face(landmarker, shape):
    assert landmarker(torch.zeros(*shape, 3)) == []


def test_noise_holds_no_face(landmarker):
    noise = torch.rand(200, 300, 3, generator=torch.Generator().manual_seed(0))
    assert landmarker(noise) == []


def test_8k_picture_is_searched_without_a_copy(landmarker):
    picture = torch.zeros(1, 1, 3).expand(
        8192, 8192, 3
    )  # no memory of its own: a whole copy would take 0.8 GB
    assert landmarker(picture) == []


def test_no_face_says_what_to_do():
    with pytest.raises(ValueError, match=r"No face found in the picture \(640×480\).*threshold"):
        choose_face([], 480, 640)


def test_wrong_choices_name_what_is_wrong():
    faces = [Face(torch.rand(478, 3), 0.9, 1.0)] * 2
    with pytest.raises(ValueError, match="Face 2 was asked for, but only 2 found"):
        choose_face(faces, 480, 640, index=2)
    with pytest.raises(ValueError, match="unknown order of faces 'age'"):
        order_faces(faces, "age")


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (8, 8), (8, 8, 4), (0, 8, 3)])
def test_wrong_pictures_are_refused(landmarker, shape):
    with pytest.raises(ValueError, match="expected one picture"):
        landmarker(torch.zeros(shape))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not a converted face landmarker"):
        FaceLandmarker.load(ASSETS / "canonical_face.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a converted face landmarker"):
        FaceLandmarker.load(tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match="NO_SUCH_OPERATOR"):
        TfliteGraph({"ops": [["NO_SUCH_OPERATOR", [0], [1], {}]], "inp": [0], "out": [1]}, {})


def test_anchors():
    grid = anchors()
    assert grid.shape == (896, 2)
    torch.testing.assert_close(
        grid[[0, 2, -1]], torch.tensor([[1 / 32, 1 / 32], [3 / 32, 1 / 32], [15 / 16] * 2])
    )


def test_graph_runs_a_batch_like_single_pictures(landmarker):
    pictures = torch.rand(3, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    together = landmarker.detector.graph(pictures)
    for index in range(3):
        alone = landmarker.detector.graph(pictures[index : index + 1])
        for many, one in zip(together, alone, strict=True):
            torch.testing.assert_close(many[index : index + 1], one, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [64, 256, 1500])
def test_overlay_draws_on_a_copy(astronaut, face, state, size):
    picture = resize(astronaut, size, size).clamp(0, 1)
    scale = size / 512
    small = Face(face.points * scale, face.score, face.presence)
    small_state = face_state(small.points, size, size)
    crop = crop_face(small.points, size, size, 128)
    before = picture.clone()
    overlay = draw_face_overlay(picture, small, small_state, crop, [small])
    assert torch.equal(picture, before)
    assert overlay.shape == picture.shape and overlay.dtype == torch.float32
    assert overlay.min() >= 0 and overlay.max() <= 1
    changed = ((overlay - picture).abs().amax(-1) > 0.1).float().mean()
    assert 0.02 < changed < 0.7


def test_overlay_survives_a_face_outside_the_picture(face, state):
    far = Face(face.points * 1e6, face.score, face.presence)
    overlay = draw_face_overlay(torch.zeros(32, 48, 3), far, state)
    assert overlay.shape == (32, 48, 3)


def test_overlay_of_a_large_picture_is_made_smaller():
    points = torch.randn(478, 3) * 300 + 2000
    face = Face(points, 1.0, 1.0)
    crop = crop_face(points, 3000, 6000, 512)
    overlay = draw_face_overlay(torch.zeros(3000, 6000, 3), face, face_state(points, 3000, 6000), crop)
    assert overlay.shape == (1024, 2048, 3)
    drawn = overlay.sum(-1).nonzero()
    corners = crop.corners() * 2048 / 6000  # the outline is still where the crop is
    assert abs(drawn[:, 0].min() - corners[:, 1].min().clamp(min=0)) < 12


def test_with_one_face_the_only_choice_is_named():
    face = Face(torch.rand(478, 3), 0.9, 1.0)
    with pytest.raises(ValueError, match=r"Choose 0, or lower `threshold` of DAWN Prepare Portrait"):
        choose_face([face], 480, 640, index=2)
