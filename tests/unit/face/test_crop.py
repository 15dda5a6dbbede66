"""Crop geometry, resizing and the way back."""

import numpy as np
import pytest
import recipe
import torch
from test_state import synthetic_head

from dawn_model.face.crop import Crop, crop_face, resize
from dawn_model.face.square import Region, sample, shrink
from dawn_model.face.state import LANDMARKS_68, face_state, landmark_box


def head(**kwargs):
    return torch.cat([synthetic_head(**kwargs), torch.zeros(10, 3)])


def gradient(height, width):
    """[H, W, 2]: every pixel holds its own x and y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], dim=-1).float()


@pytest.mark.parametrize("name, height, width", [("down", 300, 220), ("mixed", 100, 400), ("up", 90, 70)])
def test_resize_is_pillows(golden, name, height, width):
    """Pillow rounds to 8 bits after each axis; in floats at most one level lies between."""
    generator = recipe.generator(f"input.image.{name}")
    blocks = generator.integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    picture = torch.from_numpy(np.kron(blocks, np.ones((10, 10, 1), np.uint8)))
    expected = golden("image_io")[f"{name}_{height}x{width}_to_128_rgb_u8"].float()
    difference = (resize(picture, 128, 128) - expected).abs()
    assert difference.max() <= 1.0
    assert difference.mean() < 0.3


def crop_square(height: int, width: int, size: int) -> Crop:
    """The largest centred square of a picture."""
    return Crop(Region((width - 1) / 2, (height - 1) / 2, min(height, width)), size, height, width)


@pytest.mark.parametrize("align_roll", [False, True])
def test_points_go_there_and_back(align_roll):
    points = head(angles=(10.0, 5.0, 20.0), centre=(3000.0, 2000.0), pixels_per_cm=60.0)
    crop = crop_face(points, 4000, 6000, 256, align_roll=align_roll)
    back = crop.from_crop(crop.to_crop(points))
    assert (back - points).abs().max() < 1e-3


@pytest.mark.parametrize("align_roll", [False, True])
def test_cut_shows_what_the_points_say(align_roll):
    points = head(angles=(0.0, 0.0, 15.0))
    crop = crop_face(points, 320, 420, 128, align_roll=align_roll)
    picture = gradient(320, 420)
    cut = crop.cut(picture)
    expected = crop.from_crop(gradient(128, 128))
    within = ((expected > 3) & (expected < torch.tensor([416.0, 316.0]))).all(-1)
    assert within.float().mean() > 0.5
    within[[0, -1]] = within[:, [0, -1]] = False  # Pillow's triangle ends at the crop, so its rim is lopsided
    assert (cut - expected)[within].abs().max() < 0.05


def test_default_framing():
    points = head(centre=(500.0, 400.0))
    crop = crop_face(points, 900, 1000, 256)
    box = landmark_box(crop.to_crop(points)[list(LANDMARKS_68)]) / 256
    assert max(box[2] - box[0], box[3] - box[1]).item() == pytest.approx(1 / 2.1, abs=0.01)
    assert ((box[0] + box[2]) / 2).item() == pytest.approx(0.5, abs=0.01)
    assert ((box[1] + box[3]) / 2).item() == pytest.approx(0.6, abs=0.01)


def test_margin_and_shift():
    points = head(centre=(500.0, 400.0))
    near, far = (crop_face(points, 900, 1000, 256, margin=m, shift=(0.0, 0.0)) for m in (0.0, 1.0))
    assert far.region.side == pytest.approx(3 * near.region.side)
    moved = crop_face(points, 900, 1000, 256, margin=1.0, shift=(0.25, -0.5))
    assert moved.region.x - far.region.x == pytest.approx(0.25 * far.region.side, abs=1e-2)
    assert moved.region.y - far.region.y == pytest.approx(-0.5 * far.region.side, abs=1e-2)
    with pytest.raises(ValueError, match="margin"):
        crop_face(points, 900, 1000, 256, margin=-0.5)


def test_face_state_in_the_crop_differs_only_by_its_box():
    points = head(angles=(12.0, -4.0, 9.0))
    whole = face_state(points, 320, 420)
    crop = crop_face(points, 320, 420, 128)
    cut = face_state(crop.to_crop(points), 128, 128)
    torch.testing.assert_close(cut.pose, whole.pose, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(cut.blink, whole.blink, rtol=1e-4, atol=1e-5)
    corners = crop.to_crop(whole.box.reshape(2, 2)).reshape(4)
    assert (corners - cut.box).abs().max() <= 1.0


def test_aligned_crop_has_no_roll():
    points = head(angles=(12.0, -4.0, 25.0))
    crop = crop_face(points, 320, 420, 128, align_roll=True)
    pose = face_state(crop.to_crop(points), 128, 128).pose
    assert abs(pose[2].item()) < 1e-3
    assert pose[0].item() == pytest.approx(face_state(points, 320, 420).pose[0].item(), abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 1e-9])
def test_beyond_the_picture_lies_its_mirror_image(angle):
    """Both ways of cutting, straight and turned, read the same mirrored pixels."""
    picture = gradient(20, 30)
    crop = crop_square(20, 30, 60)
    region = Region(crop.region.x, crop.region.y, 60.0, angle)
    cut = type(crop)(region, 60, 20, 30).cut(picture)
    numpy_mirror = np.pad(picture.numpy(), ((20, 20), (15, 15), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(cut.numpy(), numpy_mirror, atol=1e-4)


def test_square_crop_of_a_square_picture_is_the_picture():
    picture = torch.rand(64, 64, 3)
    torch.testing.assert_close(crop_square(64, 64, 64).cut(picture), picture, rtol=0, atol=1e-6)


def test_square_crop_keeps_the_aspect_ratio():
    crop = crop_square(100, 300, 50)
    torch.testing.assert_close(
        crop.corners(), torch.tensor([[99.5, -0.5], [199.5, -0.5], [199.5, 99.5], [99.5, 99.5]])
    )


def test_single_pixel_and_far_away():
    picture = torch.rand(1, 1, 3)
    assert torch.allclose(crop_square(1, 1, 16).cut(picture), picture.expand(16, 16, 3))
    points = head(centre=(5000.0, -3000.0))
    assert torch.isfinite(crop_face(points, 320, 420, 32).cut(torch.rand(320, 420, 3))).all()
    assert torch.isfinite(crop_face(points, 320, 420, 32, align_roll=True).cut(torch.rand(320, 420, 3))).all()


def test_huge_picture_is_not_copied():
    picture = torch.full((1, 1, 3), 0.5).expand(8192, 8192, 3)
    cut = crop_face(head(centre=(4000.0, 4000.0), pixels_per_cm=100.0), 8192, 8192, 128).cut(picture)
    torch.testing.assert_close(cut, torch.full((128, 128, 3), 0.5))


def test_wrong_picture_is_refused():
    with pytest.raises(ValueError, match="400×300"):
        crop_square(300, 400, 64).cut(torch.zeros(300, 300, 3))
    with pytest.raises(ValueError, match="no extent"):
        crop_face(torch.full((478, 3), 5.0), 10, 10, 64)


def test_shrink_averages():
    picture = torch.rand(10, 13, 3)
    small = shrink(picture, 4)
    assert small.shape == (2, 3, 3)
    torch.testing.assert_close(small[1, 2], picture[4:8, 8:12].mean((0, 1)))


def test_sample_of_a_turned_region():
    """Turned a quarter clockwise, the square's top-left corner is the picture's top right."""
    picture = gradient(40, 40)
    region = Region(19.5, 19.5, 20.0, np.pi / 2)
    view = sample(picture, region, 20)
    torch.testing.assert_close(view[0, 0], torch.tensor([29.0, 10.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(view[0, -1], torch.tensor([29.0, 29.0]), rtol=0, atol=1e-3)
