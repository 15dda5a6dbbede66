"""DAWN Prepare Portrait in a real ComfyUI: where the square lies, who chooses the face, batches."""

from __future__ import annotations

import pytest
import torch
from comfy_harness import NodeFailed
from talking_head import change, show


def prepared(comfy, prompt, **inputs):
    return comfy.run(show(change(prompt, "portrait", **inputs), "portrait", 2)).outputs["portrait"]


def test_shift_and_margin_move_the_square(comfy, head):
    plain = prepared(comfy, head)[0][0].crop.region
    moved = prepared(comfy, head, shift_x=0.25, shift_y=0.15)[0][0].crop.region
    assert moved.side == plain.side
    assert (moved.x - plain.x) / plain.side == pytest.approx(0.25)
    assert (moved.y - plain.y) / plain.side == pytest.approx(0.25), "the default is -0.1"
    wide = prepared(comfy, head, margin=1.05)[0][0].crop.region
    assert wide.side / plain.side == pytest.approx(3.1 / 2.1)


def test_roll_alignment_turns_the_square_and_not_the_head(comfy, head, given, astronaut):
    turned = torch.rot90(astronaut, 1, (1, 2)) * 0.999  # the head lies on its side
    prompt = {**head, "image": given.image(turned)}
    (lying,), _, _ = prepared(comfy, prompt)
    (upright,), (crop,), _ = prepared(comfy, prompt, align_roll=True)
    assert abs(float(lying.at(128)[1].pose[2])) > 80
    assert abs(float(upright.at(128)[1].pose[2])) < 1e-3
    _, (expected,), _ = prepared(comfy, head, align_roll=True)
    assert (crop - expected).abs().mean() < 0.03, "the same face upright"


def test_a_box_by_hand_finds_the_face(comfy, head):
    (expected,), _, _ = prepared(comfy, head)
    (found,), _, _ = prepared(comfy, head, box="185, 75, 85, 105")
    assert (found.points - expected.points)[:, :2].norm(dim=1).mean() < 1.5
    with pytest.raises(NodeFailed, match=r"box: no face is seen in it \(certainty .* lower the threshold"):
        prepared(comfy, head, box="300, 300, 80, 80")
    with pytest.raises(NodeFailed, match=r"box: 'here' is no box"):
        prepared(comfy, head, box="here")


def pair(astronaut):
    """A small face on the left, a large one on the right."""
    picture = torch.full((1, 512, 800, 3), 0.6)
    picture[:, 100:356, :256] = astronaut[:, ::2, ::2]
    picture[:, :, 288:] = astronaut
    return picture


def test_boxes_landmarks_and_masks_of_other_nodes_choose_the_face(comfy, head, given, astronaut):
    prompt = {**head, "image": given.image(pair(astronaut))}
    (large,), _, _ = prepared(comfy, prompt)
    (small,), _, _ = prepared(comfy, prompt, face_index=1)
    assert small.points[:, 0].mean() < 256 < large.points[:, 0].mean()

    mask = torch.zeros(1, 512, 800)
    mask[:, :, :270] = 1
    (found,), _, _ = prepared(comfy, {**prompt, "mask": given.mask(mask)}, mask=["mask", 0])
    assert torch.equal(found.points, small.points)

    left, top, right, bottom = (
        float(value) for value in [*small.points[:, :2].amin(0), *small.points[:, :2].amax(0)]
    )
    box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    (found,), _, _ = prepared(comfy, {**prompt, "boxes": given.boxes([[box]])}, bounding_box=["boxes", 0])
    assert (found.points - small.points)[:, :2].norm(dim=1).mean() < 1.5

    entry = {
        "landmarks_xy": small.points[:, :2].numpy(), "landmarks_3d": small.points.numpy(),
        "presence": 5.0, "score": 0.9,
    }  # fmt: skip
    landmarks = {"frames": [[entry]], "image_size": (512, 800)}
    (found,), _, _ = prepared(
        comfy, {**prompt, "landmarks": given.landmarks(landmarks)}, face_landmarks=["landmarks", 0]
    )
    assert torch.allclose(found.points, small.points, atol=1e-4)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 64, 64), r"mask: it is 64×64, the picture is 512×512\. Make the mask from the same"),
        (torch.ones(2, 512, 512), r"mask: 2 masks arrived for 1 pictures"),
        (torch.zeros(1, 512, 512), r"mask: of 1 faces in the picture none lies in the white part"),
    ],
)
def test_masks_that_can_not_be_used(comfy, head, given, mask, message):
    with pytest.raises(NodeFailed, match=message):
        prepared(comfy, {**head, "mask": given.mask(mask)}, mask=["mask", 0])


def test_no_colour(comfy, head):
    with pytest.raises(NodeFailed, match=r"background: 'sky' is no color"):
        prepared(comfy, head, background="sky")


# --- batches ---


def test_a_batch_of_portraits_gives_a_batch_of_clips(comfy, head, given, astronaut):
    """Every node behind runs once for each picture, and each clip is what the picture alone gives."""
    mirrored = astronaut.flip(2)
    alone = [
        comfy.run({**head, "image": given.image(image)}).output("frames").clone()
        for image in (astronaut, mirrored)
    ]
    run = comfy.run({**head, "image": given.image(torch.cat([astronaut, mirrored]))})
    clips, sounds, rates = run.outputs["frames"]
    assert len(clips) == len(sounds) == len(rates) == 2
    for clip, expected in zip(clips, alone, strict=True):
        assert torch.allclose(clip, expected, atol=1e-5)
    assert (clips[0] - clips[1]).abs().mean() > 0.01
    assert len(run.outputs["speech"][0]) == 1, "the speech is heard once"


def test_a_picture_of_a_batch_without_a_face_is_named(comfy, head, given, astronaut):
    batch = torch.cat([astronaut, torch.full_like(astronaut, 0.5)])
    with pytest.raises(NodeFailed, match=r"picture 2 of 2: No face found in the picture"):
        prepared(comfy, {**head, "image": given.image(batch)})
