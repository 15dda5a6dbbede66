"""Landmarks → pose, eyes and box, without any network: goldens and a synthetic head."""

import pytest
import torch

from dawn_model.face.state import (
    LANDMARKS_68,
    angles_from_rotation,
    canonical_face,
    eye_openness,
    face_state,
    head_pose,
    landmark_box,
    rotation_from_angles,
)


@pytest.fixture(scope="module")
def pose_golden(golden):
    return golden("pose")


def synthetic_head(angles=(0.0, 0.0, 0.0), pixels_per_cm=12.0, centre=(200.0, 150.0)):
    """The canonical face turned by yaw, pitch, roll and drawn in a picture, [468, 3] in pixels, y down."""
    rotation = rotation_from_angles(torch.tensor(angles, dtype=torch.float64))
    turned = pixels_per_cm * canonical_face().vertices.double() @ rotation.mT
    return (turned * turned.new_tensor([1, -1, -1]) + turned.new_tensor([*centre, 0])).float()


def test_angles_match_golden(pose_golden):
    """Of 3DDFA's projection matrices, whose first two rows are the scaled axes of the face."""
    rows = pose_golden["A.params"].double()[:, :12].reshape(-1, 3, 4)[:, :2, :3]
    first, second = (rows / rows.norm(dim=-1, keepdim=True)).unbind(1)
    rotation = torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)
    expected = pose_golden["f64.A.pose_yaw_pitch_roll_scale_tx_ty_tz"][:, :3]
    torch.testing.assert_close(angles_from_rotation(rotation), expected, rtol=0, atol=1e-5)
    assert expected[:, 0].abs().max() == 90, "the golden covers looking fully sideways"


def test_eye_openness_and_box_match_golden(pose_golden):
    landmarks = pose_golden["C.landmarks68_xyz"].mT
    expected = pose_golden["f64.C.eye_left_right"]
    torch.testing.assert_close(eye_openness(landmarks).double(), expected, rtol=0, atol=1e-6)
    box = pose_golden["C.bbox_xmin_xmax_ymin_ymax_H_W"][:, [0, 2, 1, 3]].float()
    assert torch.equal(landmark_box(landmarks), box)


def test_rotation_and_angles_are_inverse():
    angles = torch.tensor([[10.0, -20.0, 30.0], [-80.0, 5.0, 100.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(angles_from_rotation(rotation_from_angles(angles)), angles)


def test_frontal_head_has_the_pose_of_3ddfa():
    """Level but for the small turn between the two mean faces; scale and place as its mean parameters."""
    pose = head_pose(synthetic_head())
    assert pose[:3].abs().max() < 2.1
    assert 4e-4 < pose[3] < 6e-4
    assert 50 < pose[4] < 70 and 55 < pose[5] < 80


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-25.0, 25.0])
def test_a_turned_head_is_measured_as_turned(axis, degrees):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = degrees
    change = head_pose(synthetic_head(angles)) - head_pose(synthetic_head())
    assert change[axis].item() == pytest.approx(degrees, abs=0.5)
    others = [i for i in range(3) if i != axis]
    assert change[others].abs().max() < 1.5  # the turn between the mean faces mixes the axes a little


def test_signs_as_one_sees_them():
    level = synthetic_head()[4]  # tip of the nose
    assert synthetic_head((20.0, 0.0, 0.0))[4, 0] < level[0], "positive yaw: the nose moves to the left"
    assert synthetic_head((0.0, 20.0, 0.0))[4, 1] > level[1], "positive pitch: the nose moves down"
    crown = synthetic_head((0.0, 0.0, 20.0))[10]
    assert crown[0] < synthetic_head()[10, 0], "positive roll: counter-clockwise"


def test_pose_does_not_depend_on_place_or_size_in_the_picture():
    pose = head_pose(synthetic_head((10.0, 5.0, -8.0)))
    moved = head_pose(synthetic_head((10.0, 5.0, -8.0), pixels_per_cm=90.0, centre=(-300.0, 4000.0)))
    torch.testing.assert_close(moved, pose, rtol=1e-3, atol=2e-3)


def test_mirrored_head_mirrors_yaw_and_roll():
    pose = head_pose(synthetic_head((15.0, 5.0, 10.0)))
    mirrored = head_pose(synthetic_head((-15.0, 5.0, -10.0)))
    torch.testing.assert_close(mirrored[:3], pose[:3] * pose.new_tensor([-1, 1, -1]), rtol=0, atol=1.5)
    assert mirrored[4].item() == pytest.approx(120 - pose[4].item(), abs=3)


def test_mouth_moves_the_pose_little():
    points = synthetic_head()
    opened = points.clone()
    jaw = [17, 84, 181, 314, 405, 87, 14, 317, 18, 200, 199, 175, 152]
    opened[jaw, 1] += 1.5 * 12  # the chin 1.5 cm lower
    change = head_pose(opened) - head_pose(points)
    assert change[:3].abs().max() < 0.5


def test_closed_eye_is_measured_on_its_own_side():
    points = torch.cat([synthetic_head(), torch.zeros(10, 3)])
    state = face_state(points, 300, 400)
    closed = points.clone()
    closed[[385, 387, 380, 373], 1] = points[386, 1]  # the subject's left eye
    blink = face_state(closed, 300, 400).blink
    assert blink[0] < 0.5 * state.blink[0]
    assert blink[1] == state.blink[1]


def test_face_state_fields():
    points = torch.cat([synthetic_head(), torch.zeros(10, 3)])
    state = face_state(points, 300, 400)
    assert (state.height, state.width) == (300, 400)
    assert state.pose.shape == (6,) and state.blink.shape == (2,) and state.box.shape == (4,)
    assert torch.equal(state.box, state.box.trunc())
    assert len(set(LANDMARKS_68)) == 68
