"""DAWN Paste Back in a real ComfyUI: the whole picture, several faces, what runs again, bad input."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from comfy_harness import NodeFailed
from safetensors.torch import save_file
from talking_head import change, show

from dawn_model.face.crop import Crop
from dawn_model.paste_back.colour_match import ColourSums

WIDGETS = {
    "region": "square",
    "feather": 0.15,
    "colour_match": 1.0,
    "detail": 1.0,
    "longest_side": 1920,
    "result": "picture",
}


@pytest.fixture
def whole(head):
    """The graph with the frames pasted back into the picture."""
    inputs = {"portrait": ["portrait", 0], "images": ["frames", 0], "motion": ["motion", 0], **WIDGETS}
    prompt = {**head, "pasted": {"class_type": "DawnPasteBack", "inputs": inputs}}
    return change(prompt, "show", source=["pasted", 0])


def test_the_whole_picture_moves_where_the_head_is(comfy, whole, astronaut):
    run = comfy.run(whole)
    images, mask = run.output("pasted"), run.output("pasted", 1)
    assert images.shape == (10, 512, 512, 3) and mask.shape == (1, 512, 512)
    assert images.min() >= 0 and images.max() <= 1
    outside = mask[0] == 0
    assert torch.equal(images[:, outside], astronaut[:, outside].expand(10, -1, -1))
    assert (images[1:] - images[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0.01, "a frame stands still"
    assert [(value, total) for node, value, total in run.progress if node == "pasted"][-1] == (10, 10)


def test_without_motion_the_picture_comes_back(comfy, head, given, whole, astronaut):
    """What a perfect renderer makes of no motion, pasted back: 40 dB and more."""
    portrait = comfy.run(show(head, "portrait")).output("portrait")
    still = Crop(portrait.crop.region, 128, 512, 512).cut(portrait.picture)[None].repeat(3, 1, 1, 1)
    prompt = change({**whole, "still": given.image(still)}, "pasted", images=["still", 0])
    del prompt["pasted"]["inputs"]["motion"]
    images = comfy.run(prompt).output("pasted")
    assert -10 * (images - astronaut).square().mean().log10() > 40


def test_pasting_again_renders_nothing(comfy, whole):
    comfy.run(whole)
    assert set(comfy.run(change(whole, "pasted", feather=0.1)).executed) == {"pasted", "show"}


def test_another_range_samples_nothing_and_fits_its_motion(comfy, whole):
    full = comfy.run(whole).output("pasted").clone()
    part = change(
        change(whole, "frames", first_frame=4, last_frame=6), "pasted", first_frame=4, colour_match=0.0
    )
    run = comfy.run(part)
    assert set(run.executed) == {"frames", "pasted", "show"}
    plain = comfy.run(change(whole, "pasted", colour_match=0.0)).output("pasted")
    assert torch.allclose(run.output("pasted"), plain[4:7], atol=1e-5)
    assert full.shape[0] == 10


def test_parts_with_the_colors_of_the_whole_clip_are_parts_of_it(comfy, whole):
    full = comfy.run(whole)
    expected, colors = full.output("pasted").clone(), full.output("pasted", 2)

    def part(first, last, **more):
        prompt = change(whole, "frames", first_frame=first, last_frame=last)
        return comfy.run(change(prompt, "pasted", first_frame=first, **more))

    measured = [ColourSums.from_text(part(*ends).output("pasted", 2)) for ends in ((0, 3), (4, 9))]
    assert (measured[0] + measured[1]).to_text() == colors
    for first, last in ((0, 3), (4, 9)):
        images = part(first, last, colors=colors).output("pasted")
        assert torch.equal(images, expected[first : last + 1])
    assert not torch.equal(part(4, 9).output("pasted"), expected[4:]), (
        "this clip needs the colors of the whole"
    )
    with pytest.raises(
        NodeFailed, match=r"colors: 'red' holds no measured colors .* Connect the colors of another"
    ):
        comfy.run(change(whole, "pasted", colors="red"))
    assert comfy.run(change(whole, "pasted", colour_match=0.0)).output("pasted", 2) == ""


def test_another_pose_runs_only_what_depends_on_it(comfy, whole):
    comfy.run(whole)
    executed = comfy.run(change(whole, "pose", seed=123)).executed
    assert set(executed) == {"pose", "motion", "frames", "pasted", "show"}
    assert len(executed) == 5, "each once"


def nearest_upscaler(scale: int) -> dict[str, torch.Tensor]:
    """A file of the Real-ESRGAN compact kind whose network adds nothing to the enlarged picture."""
    sizes = {0: (4, 3), 2: (4, 4), 4: (3 * scale**2, 4)}
    state = {f"body.{i}.weight": torch.zeros(*size, 3, 3) for i, size in sizes.items()}
    state |= {f"body.{i}.bias": torch.zeros(size[0]) for i, size in sizes.items()}
    return state | {f"body.{i}.weight": torch.zeros(4) for i in (1, 3)}


def test_frames_through_an_upscale_model(comfy, whole):
    """As in the workflow's empty slot: larger frames land in the same places."""
    folder = comfy.base / "models" / "upscale_models"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(nearest_upscaler(2), folder / "nearest_x2.safetensors")
    larger = {"upscale_model": ["upscaler", 0], "image": ["frames", 0]}
    prompt = {
        **whole,
        "upscaler": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "nearest_x2.safetensors"}},
        "larger": {"class_type": "ImageUpscaleWithModel", "inputs": larger},
    }
    run = comfy.run(change(prompt, "pasted", images=["larger", 0]))
    assert run.output("larger").shape == (10, 256, 256, 3)
    plain = comfy.run(whole).output("pasted")
    assert (run.output("pasted") - plain).abs().mean() < 0.005


def test_a_smaller_result(comfy, whole):
    run = comfy.run(change(whole, "pasted", longest_side=100))
    assert run.output("pasted").shape == (10, 100, 100, 3) and run.output("pasted", 1).shape == (1, 100, 100)


def test_the_square_alone_in_the_pictures_own_size(comfy, whole, head):
    """What is pasted is what the whole picture shows there."""
    run = comfy.run(change(whole, "pasted", result="square"))
    square, mask = run.output("pasted"), run.output("pasted", 1)
    region = run.output("portrait").crop.region
    assert square.shape == (10, *[round(region.side / 2 - 1e-6) * 2] * 2, 3)
    assert mask.min() > 0.9999
    full = comfy.run(change(whole, "pasted", colour_match=0.0)).output("pasted")
    square = comfy.run(change(whole, "pasted", result="square", colour_match=0.0)).output("pasted")
    inner = Crop(dataclasses.replace(region, side=region.side * 0.4), 64, 512, 512).cut(full[7])
    side = square.shape[1]
    middle = dataclasses.replace(region, x=side / 2 - 0.5, y=side / 2 - 0.5, side=side * 0.4)
    assert (Crop(middle, 64, side, side).cut(square[7]) - inner).abs().mean() < 0.02
    small = comfy.run(change(whole, "pasted", result="square", longest_side=150)).output("pasted")
    assert small.shape == (10, 150, 150, 3)


def test_a_square_is_not_pasted_into_anything(comfy, whole, given):
    prompt = change({**whole, "mask": given.mask(torch.ones(1, 512, 512))}, "pasted", mask=["mask", 0])
    with pytest.raises(NodeFailed, match=r"result: a square is not pasted into anything; choose picture"):
        comfy.run(change(prompt, "pasted", result="square"))


def test_several_faces_in_one_picture(comfy, whole, given, astronaut):
    """The clip of one face is pasted onto that of the other; both move, and the wall between stays."""
    pair = torch.full((1, 512, 800, 3), 0.6)
    pair[:, 100:356, :256] = astronaut[:, ::2, ::2]
    pair[:, :, 288:] = astronaut
    prompt = {**whole, "image": given.image(pair)}
    second = change(prompt, "portrait", face_index=1)["portrait"]
    names = {"portrait": "portrait 2", "pose": "pose 2", "motion": "motion 2", "frames": "frames 2"}
    for name, copy in names.items():
        node = second if name == "portrait" else prompt[name]
        wires = {
            key: [names.get(value[0], value[0]), value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()
        }
        prompt[copy] = {**node, "inputs": wires}
    inputs = {**prompt["pasted"]["inputs"], "portrait": ["portrait 2", 0], "images": ["frames 2", 0]}
    inputs |= {"motion": ["motion 2", 0], "onto": ["pasted", 0]}
    prompt["both"] = {"class_type": "DawnPasteBack", "inputs": inputs}
    run = comfy.run(change(prompt, "show", source=["both", 0]))
    first, both = run.output("pasted"), run.output("both")
    changed = (both - pair).abs().amax(-1) > 0.02
    assert both.shape == (10, 512, 800, 3)
    assert changed[:, :, :256].any() and changed[:, :, 288:].any()
    assert torch.equal(both[:, :, 288:], first[:, :, 288:]), "the first face keeps its clip"
    assert run.executed.count("speech") <= 1


@pytest.mark.parametrize(
    ("inputs", "value", "message"),
    [
        ("images", torch.zeros(2, 64, 80, 3), r"images: the frames are 80×64; only squares can be pasted back"),
        ("images", torch.zeros(0, 64, 64, 3), r"images: expected frames \[frames, side, side, 3\], got \[0, 64"),
        ("images", torch.full((2, 64, 64, 3), torch.nan), r"images: the frames hold values that are not numbers"),
        ("images", None, r"images: nothing arrived; connect DAWN Render Frames"),
        ("images", torch.zeros(11, 64, 64, 3), r"motion: 11 images, beginning with frame 0, are more than its 10"),
        ("onto", torch.zeros(2, 64, 64, 3), r"onto: expected frames of 512×512, got \[2, 64, 64, 3\]"),
    ],
)  # fmt: skip
def test_pictures_that_do_not_fit(comfy, whole, given, inputs, value, message):
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(change({**whole, "other": given.image(value)}, "pasted", **{inputs: ["other", 0]}))
    assert failure.value.node == "pasted"
    assert len(comfy.run(whole).output("pasted")) == 10


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 64, 64), r"mask: it is 64×64, the picture is 512×512"),
        (torch.ones(10, 512, 512), r"mask: 10 masks arrived for 1 pictures; send one"),
    ],
)
def test_masks_that_do_not_fit(comfy, whole, given, mask, message):
    with pytest.raises(NodeFailed, match=message):
        comfy.run(change({**whole, "mask": given.mask(mask)}, "pasted", mask=["mask", 0]))


def test_a_first_frame_beyond_the_motion(comfy, whole):
    with pytest.raises(
        NodeFailed, match=r"motion: 10 images, beginning with frame 3, are more than its 10 frames"
    ):
        comfy.run(change(whole, "pasted", first_frame=3))


def test_a_clip_that_memory_can_not_hold(comfy, whole, monkeypatch):
    import comfy.model_management as mm

    comfy.run(whole)
    monkeypatch.setattr(mm, "get_free_memory", lambda *_: 20 * 2**20)
    message = (
        r"longest_side \(size of DAWN Talking Head\): 10 frames of 512×512 take 0\.0 GB.*Choose 373 or less"
    )
    with pytest.raises(NodeFailed, match=message):
        comfy.run(change(whole, "pasted", feather=0.11))
    assert comfy.run(change(whole, "pasted", longest_side=373)).output("pasted").shape[1] == 372
