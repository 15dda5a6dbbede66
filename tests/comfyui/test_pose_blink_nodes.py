"""The pose and blink nodes in a real ComfyUI: what runs again, what arrives from other nodes, files, bad input."""

from __future__ import annotations

import copy
import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_harness import NodeFailed, PromptRejected
from talking_head import change, saved_video, show, sound

from dawn_model.head_motion.edit import AngleEdit, MotionEdit, edit_head_motion
from dawn_model.head_motion.video import film_head_motion, onto_portrait
from dawn_model.structures import HeadMotion

VIDEOS = Path(__file__).resolve().parents[2] / "media" / "videos"
FRAMES = 10


@pytest.fixture(scope="session")
def wire(comfy, given):
    """wire("FLOATS", value): a node that outputs just that; as_list: as a list of values, in core's sense."""

    def make(socket: str, value, as_list: bool = False):
        name = f"Given{socket}{'List' * as_list}"
        if name not in comfy.nodes.NODE_CLASS_MAPPINGS:
            made = given._class(socket)
            made.OUTPUT_IS_LIST = (as_list,)
            comfy.nodes.NODE_CLASS_MAPPINGS[name] = made
        return given._node(name, value)

    return make


@pytest.fixture(scope="session")
def staged(comfy, head):
    """The graph with an edit between the pose and the sampler."""
    info = comfy.node_class("DawnEditPoseBlink").GET_SCHEMA().inputs
    widgets = {i.id: i.default for i in info if hasattr(i, "default") and i.default is not None}
    edit = {
        "class_type": "DawnEditPoseBlink",
        "inputs": {**widgets, "pose": ["pose", 0], "portrait": ["portrait", 0]},
    }
    return change({**head, "edit": edit}, "motion", pose=["edit", 0])


def node(class_type: str, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def pose_of(run, name: str) -> HeadMotion:
    """A track as it lies on a wire; checks that it is a plain record on the CPU."""
    motion = run.output(name)
    assert type(motion).__name__ == "HeadMotion"
    assert motion.pose.dtype == motion.blink.dtype == torch.float32
    assert motion.pose.device.type == motion.blink.device.type == "cpu"
    assert motion.pose.shape == (len(motion), 6) and motion.blink.shape == (len(motion), 2)
    return motion


def same(a: HeadMotion, b: HeadMotion) -> bool:
    return torch.equal(a.pose, b.pose) and torch.equal(a.blink, b.blink)


# --- editing ---


def test_a_neutral_edit_changes_nothing(comfy, staged):
    run = comfy.run(show(staged, "edit"))
    assert same(pose_of(run, "edit"), pose_of(run, "pose"))


def test_editing_the_pose_runs_only_what_depends_on_it(comfy, staged):
    """Counted in ComfyUI: neither speech nor portrait nor the generated pose is made again."""
    comfy.run(staged)
    for edit in ({"yaw_offset": 5.0}, {"keyframes": "0.2s blink=1"}, {"preset": "lips only"}):
        executed = comfy.run(change(staged, "edit", **edit)).executed
        assert sorted(executed) == ["edit", "frames", "motion", "show"], edit
    assert comfy.run(change(staged, "edit", preset="lips only")).executed == []


def test_the_node_adds_nothing_to_the_edit(comfy, staged):
    options = {
        "smoothing": 0.2, "camera_pull": 0.3, "blink": "new", "blinks_per_minute": 60.0, "blink_seed": 5,
    }  # fmt: skip
    yaw = {"yaw_scale": 0.5, "yaw_offset": 4.0, "yaw_limit": 12.0}
    run = comfy.run(show(change(staged, "edit", **options, **yaw), "edit"))
    before = pose_of(run, "pose")
    copy = HeadMotion(before.pose.clone(), before.blink.clone())
    _, rest = run.output("portrait").at(64)
    expected = edit_head_motion(before, rest, MotionEdit(yaw=AngleEdit(0.5, 4.0, 12.0), **options))
    assert same(pose_of(run, "edit"), expected)
    assert same(before, copy), "the input was changed"


@pytest.mark.parametrize(
    ("socket", "as_list", "value"),
    [
        ("FLOAT", True, [float(i) for i in range(FRAMES)]),
        ("FLOAT", False, [float(i) for i in range(FRAMES)]),
        ("FLOATS", False, list(range(FRAMES))),
        ("FLOATS", False, np.arange(FRAMES)),
        ("FLOAT", False, torch.arange(FRAMES).float()),
    ],
    ids=["core's list", "a list as FLOAT", "FLOATS", "numpy", "torch"],
)
def test_numbers_from_other_nodes(comfy, staged, wire, socket, as_list, value):
    """However a pack sends one number per frame: they are one curve, and the graph runs once."""
    prompt = change({**staged, "curve": wire(socket, value, as_list)}, "edit", pitch_curve=["curve", 0])
    run = comfy.run(show(prompt, "edit"))
    added = pose_of(run, "edit").pose[:, 1] - pose_of(run, "pose").pose[:, 1]
    assert torch.allclose(added, -torch.arange(FRAMES).float(), atol=1e-4), "positive looks up"


def test_a_single_number_and_a_blink_curve(comfy, staged, wire):
    prompt = {**staged, "three": wire("FLOAT", 3.0), "blinks": wire("FLOAT", [0.0] * 5 + [1.0] * 5)}
    prompt = change(prompt, "edit", blink="none", yaw_curve=["three", 0], blink_curve=["blinks", 0])
    run = comfy.run(show(prompt, "edit"))
    edited, before = pose_of(run, "edit"), pose_of(run, "pose")
    assert torch.allclose(edited.pose[:, 0] - before.pose[:, 0], torch.tensor(-3.0), atol=1e-4)
    assert (edited.blink[:5] > 0.1).all() and (edited.blink[5:] < 0.07).all()


def test_several_tracks_are_edited_one_by_one(comfy, staged, wire):
    """ComfyUI's lists go through as they would through any node."""
    run = comfy.run(show(staged, "pose"))
    tracks = [run.output("pose"), HeadMotion(run.output("pose").pose + 1, run.output("pose").blink)]
    prompt = {**staged, "tracks": wire("DAWN_POSE", tracks, as_list=True)}
    prompt = change(prompt, "edit", pose=["tracks", 0], yaw_offset=2.0)
    (edited,) = comfy.run(show(prompt, "edit")).outputs["edit"]
    assert len(edited) == 2
    for before, after in zip(tracks, edited, strict=True):
        assert torch.allclose(after.pose[:, 0] - before.pose[:, 0], torch.tensor(-2.0), atol=1e-4)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"keyframes": "0.1s yaw=1\n0.05s yaw=2"}, r"keyframes: line 2 .* out of order"),
        ({"keyframes": "3s yaw=1"}, r"keyframes: line 1 .* beyond the end; the clip lasts 0\.40 s"),
        ({"keyframes": "0.1s neck=1"}, r"keyframes: line 1 .* unknown axis 'neck'"),
        ({"keyframes": "0.1s yaw=far"}, r"keyframes: line 1 .* yaw=far is not a number"),
    ],
)
def test_wrong_keyframes(comfy, staged, edit, message):
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(show(change(staged, "edit", **edit), "edit"))
    assert failure.value.node == "edit" and failure.value.exception_type == "ValueError"
    comfy.run(show(staged, "edit"))


def test_a_curve_of_another_length(comfy, staged, wire):
    prompt = change({**staged, "curve": wire("FLOATS", [1.0, 2.0])}, "edit", roll_curve=["curve", 0])
    with pytest.raises(NodeFailed, match=r"roll_curve: 2 numbers arrived and the clip has 10 frames"):
        comfy.run(show(prompt, "edit"))


def test_values_out_of_range_are_refused_before_running(comfy, staged):
    with pytest.raises(PromptRejected, match="camera_pull"):
        comfy.run(show(change(staged, "edit", camera_pull=2.0), "edit"))


# --- from a video ---


@pytest.fixture(scope="session")
def film(comfy, head, wire):
    """A prompt with a video of `seconds` at 25 frames a second, as ComfyUI loads it from a file."""
    from comfy_api.latest import InputImpl

    frames = read_frames(VIDEOS / "head_turns.mp4")

    def make(seconds: float = 0.4, **options):
        path = comfy.base / f"film_{seconds:g}.mp4"
        if not path.exists():
            write_video(path, frames[: round(25 * seconds)], 25)
        inputs = {"reference": "average", "length": "hold", "images_fps": 25.0, "threshold": 0.5, **options}
        wires = {name: [name, 0] for name in ("video", "portrait", "speech")}
        video = wire("VIDEO", InputImpl.VideoFromFile(str(path)))
        return {**head, "video": video, "film": node("DawnPoseBlinkFromVideo", **wires, **inputs)}

    make.frames = frames
    return make


def read_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_video(path: Path, frames: list[np.ndarray], fps) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def as_images(frames: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames)).float() / 255


def test_a_video_moves_the_portrait(comfy, film, astronaut):
    from dawn_model.face.landmarker import FaceLandmarker

    run = comfy.run(show(film(), "film"))
    motion, missing, report = (run.output("film", slot) for slot in range(3))
    assert len(pose_of(run, "film")) == FRAMES and missing == 0
    assert "10 frames looked at, 0 without a face" in report and "as long as the speech, 0.40 s" in report
    assert run.ui["film"]["text"] == [report] or run.ui["film"]["text"] == (report,)
    assert [step for step in run.progress if step.node == "film"][-1][1:] == (FRAMES, FRAMES)

    frames = read_frames(comfy.base / "film_0.4.mp4")
    timed = ((index / 25, frame) for index, frame in enumerate(as_images(frames)))
    _, rest = run.output("portrait").at(64)
    expected = onto_portrait(film_head_motion(FaceLandmarker.load(), timed).motion, rest, "average")
    assert torch.allclose(motion.pose, expected.pose, atol=1e-3)


def test_images_and_videos_of_other_nodes_are_the_same_film(comfy, film, wire, given):
    from comfy_api.latest import InputImpl, Types

    images = as_images(film.frames[:7])
    made = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=Fraction(15)))
    prompts = {
        "images": {**film(images_fps=15.0), "video": given.image(images)},
        "video": {**film(), "video": wire("VIDEO", made)},
    }
    tracks = {name: pose_of(comfy.run(show(prompt, "film")), "film") for name, prompt in prompts.items()}
    assert same(*tracks.values())
    grey = images.mean(-1, keepdim=True)
    comfy.run(show({**film(images_fps=15.0), "video": given.image(grey)}, "film"))


RATES = {"25": Fraction(25), "60": Fraction(60), "23.976": Fraction(24000, 1001)}
SECONDS, CLICK = 0.8, 0.5


def speaking_film(path: Path, pictures: list[np.ndarray], rate: Fraction) -> None:
    """`SECONDS` of pictures that were 25 a second, at another rate, and a sound that begins at `CLICK`."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=rate), container.add_stream("aac", rate=48000)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt, video.options, audio.layout = "yuv420p", {"crf": "12"}, "mono"
        for number in range(round(SECONDS * rate)):
            shown = pictures[min(len(pictures) - 1, int(25 * number / rate))]
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        time = np.arange(round(SECONDS * 48000)) / 48000
        tone = (0.5 * np.sin(2 * np.pi * 700 * time) * (time >= CLICK)).astype(np.float32)
        samples = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        samples.sample_rate, samples.time_base, samples.pts = 48000, Fraction(1, 48000), 0
        container.mux([*video.encode(), *audio.encode(samples), *audio.encode()])


@pytest.mark.parametrize("rate", ["60", "23.976"])
def test_a_film_at_another_rate_in_the_saved_file(comfy, film, wire, rate):
    """Its sound and its head, by the stages and by Talking Head: 25 frames a second as long as the sound, in step."""
    from comfy_api.latest import InputImpl

    tracks = {}
    for name in ("25", rate):
        path = comfy.base / f"speaking {name}.mp4"
        speaking_film(path, film.frames[: 2 * 25 : 2], RATES[name])
        video = wire("VIDEO", InputImpl.VideoFromFile(str(path)))
        prompt = {**film(), "source": video, "parts": node("GetVideoComponents", video=["source", 0])}
        prompt = change(prompt, "film", video=["source", 0])
        prompt = change(change(prompt, "speech", audio=["parts", 1]), "motion", pose=["film", 0])
        tracks[name] = pose_of(comfy.run(show(prompt, "film")), "film").pose[:, :3]
    best = min(range(-3, 4), key=lambda lag: apart(tracks["25"], tracks[rate], lag))
    assert best == 0 and apart(tracks["25"], tracks[rate], 0) < 1.5, "degrees"

    wires = {name: [name, 0] for name in ("model", "image")}
    simple = node(
        "DawnTalkingHead", **wires, audio_encoder=["encoder", 0], audio=["parts", 1], paste_back=False, size=256,
        head_motion="natural", blink="keep", rest_in_silence=True, seed=1,
    )  # fmt: skip
    save = node("SaveVideo", video=["simple", 0], filename_prefix="simple", format="auto", codec="auto")
    run = comfy.run({**prompt, "simple": simple, "save": save})
    (file,) = run.ui["save"]["images"]
    for saved in (comfy.base / "output" / file["subfolder"] / file["filename"], saved_video(comfy, prompt)):
        with av.open(str(saved)) as container:
            pictures = [float(frame.time) for frame in container.decode(video=0)]
        with av.open(str(saved)) as container:
            heard = [
                (float(frame.time), frame.to_ndarray(), frame.sample_rate)
                for frame in container.decode(audio=0)
            ]
        assert pictures == pytest.approx([number / 25 for number in range(round(25 * SECONDS))], abs=1e-3)
        begun = next(
            time + int(np.argmax(np.abs(wave[0]) > 0.1)) / sample_rate
            for time, wave, sample_rate in heard
            if np.abs(wave[0]).max() > 0.1
        )
        assert begun == pytest.approx(CLICK, abs=0.03)
        last, wave, sample_rate = heard[-1]
        assert last + wave.shape[-1] / sample_rate == pytest.approx(SECONDS, abs=0.04)


def apart(a: torch.Tensor, b: torch.Tensor, lag: int) -> float:
    """Mean degrees between two tracks, the second `lag` frames later."""
    inner = slice(3, len(a) - 3)
    return float((a[inner] - b.roll(-lag, 0)[inner]).abs().mean())


def test_a_film_on_its_side_is_turned_upright(comfy, film, wire):
    """As a phone writes it: sideways pictures, and a matrix in the file that says so."""
    from comfy_api.latest import InputImpl

    upright = film.frames[:4]
    path = comfy.base / "sideways.mp4"
    write_video(path, [np.ascontiguousarray(np.rot90(frame)) for frame in upright], 25)
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    one = 0x10000
    clockwise = [0, one, 0, -one, 0, 0, 0, 0, 0x40000000]
    content[header : header + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in clockwise)
    path.write_bytes(content)

    tracks = []
    for frames in (as_images(upright), InputImpl.VideoFromFile(str(path))):
        socket = "VIDEO" if not isinstance(frames, torch.Tensor) else "IMAGE"
        prompt = {**film(reference="absolute"), "video": wire(socket, frames)}
        tracks.append(pose_of(comfy.run(show(prompt, "film")), "film"))
    assert (tracks[0].pose - tracks[1].pose)[:, :3].abs().max() < 2


@pytest.mark.parametrize(("mode", "said"), [("hold", "held"), ("loop", "looped"), ("mirror", "mirrored")])
def test_a_short_video_lasts_as_long_as_the_speech(comfy, film, mode, said):
    run = comfy.run(show(film(0.2, length=mode), "film"))
    assert len(pose_of(run, "film")) == FRAMES
    assert f"lasts 0.20 s and the speech 0.40 s: {said}" in run.output("film", 2)


def test_a_short_video_can_be_refused_and_a_long_one_is_cut(comfy, film):
    with pytest.raises(
        NodeFailed, match=r"video: the track lasts 0\.20 s .*speech 0\.40 s.*Choose hold, loop"
    ):
        comfy.run(show(film(0.2, length="cut"), "film"))
    run = comfy.run(show(film(2.0, length="cut"), "film"))
    assert len(pose_of(run, "film")) == FRAMES
    assert "10 frames looked at" in run.output("film", 2), "not the rest of the film"


def test_frames_without_a_face_are_counted_and_said(comfy, film, given, caplog):
    images = as_images(film.frames[:10])
    images[4:7] = 0.5
    run = comfy.run(show({**film(), "video": given.image(images)}, "film"))
    assert run.output("film", 1) == 3
    assert "10 frames looked at, 3 without a face (filled in from the frames around them)" in caplog.text


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (
            torch.full((3, 64, 64, 3), 0.5),
            r"ValueError: video: no face found in any of the 3 frames\. Use a video in which",
        ),
        (torch.zeros(0, 64, 64, 3), r"ValueError: video: expected pictures .*got \[0, 64, 64, 3\]"),
        (None, r"ValueError: video: nothing arrived\. Connect a Load Video node"),
    ],
    ids=["no face", "no frames", "None"],
)
def test_videos_that_can_not_be_used(comfy, film, given, video, message):
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(show({**film(), "video": given.image(video)}, "film"))
    assert failure.value.node == "film" and failure.value.exception_type == "ValueError"


def test_a_file_that_is_no_video(comfy, film, wire):
    from comfy_api.latest import InputImpl

    path = comfy.base / "sound only.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    prompt = {**film(), "video": wire("VIDEO", InputImpl.VideoFromFile(str(path)))}
    with pytest.raises(NodeFailed, match=r"ValueError: video: the file has no pictures"):
        comfy.run(show(prompt, "film"))


# --- blending ---


def test_blending_two_tracks(comfy, head):
    blend = node(
        "DawnBlendPoseBlink", pose_a=["pose", 0], pose_b=["other", 0], pose_weight=0.25, blink_weight=1.0
    )
    run = comfy.run(show(change({**head, "other": head["pose"], "blend": blend}, "other", seed=9), "blend"))
    a, b, mixed = (pose_of(run, name) for name in ("pose", "other", "blend"))
    assert torch.allclose(mixed.pose, 0.75 * a.pose + 0.25 * b.pose, atol=1e-4)
    assert torch.equal(mixed.blink, b.blink) and not torch.equal(a.blink, b.blink)


def test_tracks_of_different_speech_do_not_blend(comfy, head, wire):
    longer = wire("DAWN_POSE", HeadMotion(torch.zeros(12, 6), torch.zeros(12, 2)))
    blend = node(
        "DawnBlendPoseBlink", pose_a=["pose", 0], pose_b=["longer", 0], pose_weight=0.5, blink_weight=0.5
    )
    with pytest.raises(NodeFailed, match=r"pose_a has 10 frames and pose_b 12; they must be equal"):
        comfy.run(show({**head, "longer": longer, "blend": blend}, "blend"))


# --- files ---


def saved(head, format: str, prefix: str = "pose/DAWN"):
    save = node("DawnSavePoseBlink", pose=["pose", 0], filename_prefix=prefix, format=format)
    return {**show(head, "pose"), "save": save}


def loaded(head, file: str, **options):
    inputs = {"file": file, "reference": "absolute", "length": "hold", "speech": ["speech", 0], **options}
    return show({**head, "load": node("DawnLoadPoseBlink", **inputs)}, "load")


@pytest.mark.parametrize("format", ["csv", "safetensors"])
def test_what_is_saved_can_be_loaded(comfy, head, format):
    comfy.forget()
    folder = comfy.base / "output" / "pose"
    files = [folder / f"DAWN_{number:05}_.{format}" for number in (1, 2)]
    for file in folder.glob("*") if folder.exists() else ():
        file.unlink()
    run = comfy.run(saved(head, format))
    assert files[0].is_file()
    assert list(run.ui["save"]["text"]) == [
        f"10 frames saved as pose/DAWN_00001_.{format} in the output folder"
    ]
    comfy.run(change(saved(head, format), "pose", seed=8))
    assert files[1].is_file(), "the counter goes up"

    again = comfy.run(loaded(head, f"pose/{files[0].name} [output]"))
    assert same(pose_of(again, "load"), pose_of(run, "pose"))
    (comfy.base / "input" / files[0].name).write_bytes(files[0].read_bytes())
    assert same(pose_of(comfy.run(loaded(head, files[0].name)), "load"), pose_of(run, "pose"))


def test_a_loaded_pose_moves_the_picture(comfy, head):
    comfy.run(saved(head, "csv", "pose/whole graph"))
    file = next((comfy.base / "output" / "pose").glob("whole graph*"))
    load = loaded(head, f"pose/{file.name} [output]")["load"]
    prompt = change({**head, "load": load}, "motion", pose=["load", 0])
    assert torch.equal(comfy.run(prompt).output("frames"), comfy.run(head).output("frames"))


def table(comfy, name: str, rows: list[list]) -> str:
    header = ["time", "yaw", "pitch", "roll", "scale", "x", "y", "left eye", "right eye"]
    with open(comfy.base / "input" / name, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return name


def row(frame: int) -> list:
    return [frame / 25, 10 + frame, -5, 2, 0.0016, 60, 50, 0.3, 0.3]


def test_a_table_made_by_hand_is_loaded_onto_the_portrait(comfy, head):
    file = table(comfy, "by hand.csv", [row(frame) for frame in range(4)])
    plain = pose_of(comfy.run(loaded(head, file)), "load")
    assert plain.pose[:, 0].tolist() == [-10, -11, -12, -13, -13, -13, -13, -13, -13, -13]
    run = comfy.run(loaded(head, file, reference="first frame", portrait=["portrait", 0], length="mirror"))
    _, rest = run.output("portrait").at(64)
    moved = pose_of(run, "load")
    assert torch.allclose(moved.pose[0], rest.pose)
    assert torch.allclose(
        (moved.pose - rest.pose)[:, 0], -torch.tensor([0.0, 1, 2, 3, 2, 1, 0, 1, 2, 3]), atol=1e-4
    )


def test_a_changed_file_is_loaded_again(comfy, head):
    file = table(comfy, "changing.csv", [row(0)])
    assert pose_of(comfy.run(loaded(head, file)), "load").pose[0, 0] == -10
    assert comfy.run(loaded(head, file)).executed == []
    table(comfy, "changing.csv", [row(7)])
    assert pose_of(comfy.run(loaded(head, file)), "load").pose[0, 0] == -17


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([row(0), [0.04, "left", *row(1)[2:]]], {}, r"file: bad\.csv: row 3, column yaw: 'left' is not a number"),
        ([row(0)[:5]], {}, r"file: bad\.csv: row 2, column x: the cell is empty"),
        ([], {}, r"file: bad\.csv has a header and no rows"),
        ([row(0)], {"length": "cut"}, r"file: bad\.csv: the track lasts 0\.04 s .* speech 0\.40 s"),
        ([row(0)], {"reference": "average"}, r"portrait: the reference 'average' moves .* none is connected"),
    ],
)  # fmt: skip
def test_tables_that_can_not_be_used(comfy, head, rows, options, message):
    file = table(comfy, "bad.csv", rows)
    with pytest.raises(NodeFailed, match=message) as failure:
        comfy.run(loaded(head, file, **options))
    assert failure.value.node == "load" and failure.value.exception_type == "ValueError"


def test_files_elsewhere_are_refused(comfy, head):
    """Newer versions of ComfyUI know the list of files and refuse the prompt, older ones ask the node."""
    (comfy.base / "secret.csv").touch()
    with pytest.raises((PromptRejected, NodeFailed), match=r"file: '?\.\./secret\.csv'? (is )?not in"):
        comfy.run(loaded(head, "../secret.csv"))
    load = comfy.node_class("DawnLoadPoseBlink")
    with pytest.raises(ValueError, match=r"file: \.\./secret\.csv is not in the input folder or the output"):
        load.execute("../secret.csv", None, "absolute", "hold")
    with pytest.raises(ValueError, match=r"file: there is none yet\. Put a \.csv"):
        load.execute("(no file found)", None, "absolute", "hold")


@pytest.mark.parametrize("prefix", ["../outside", "", "  "])
def test_nothing_is_saved_outside_the_output_folder(comfy, head, prefix):
    with pytest.raises(
        NodeFailed, match=r"filename_prefix: .* is no place in the output folder\. Use a name"
    ):
        comfy.run(saved(head, "csv", prefix))
    assert not list(comfy.base.glob("outside*"))


# --- plotting ---


def plotted(head, **options):
    inputs = {"pose": ["pose", 0], "width": 640, "height": 480, "moving_cursor": False, **options}
    shown = {**show(head, "pose"), **show(head, "speech"), **show(head, "portrait")}
    return {**shown, "plot": node("DawnPlotPoseBlink", **inputs)}


def test_a_plot_is_a_picture_and_shows_on_the_node(comfy, head):
    run = comfy.run(plotted(head, speech=["speech", 0], portrait=["portrait", 0]))
    picture = run.output("plot")
    assert picture.shape == (1, 480, 640, 3) and picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.05
    assert len(run.ui["plot"]["images"]) == 1
    plain = comfy.run(plotted(head)).output("plot")
    assert (plain - picture).abs().max() > 0.3


def test_a_plot_with_a_moving_cursor(comfy, head):
    run = comfy.run(plotted(head, moving_cursor=True, speech=["speech", 0]))
    film = run.output("plot")
    assert film.shape == (FRAMES, 480, 640, 3)
    assert (film[1:] - film[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0.5
    steps = [
        value for name, value, _ in run.progress if name == "plot"
    ]  # newer ComfyUI leaves quick ones out
    assert steps == sorted(set(steps)) and steps[-1] == FRAMES
    assert len(run.ui["plot"]["images"]) == 1


def test_plots_that_can_not_be_made(comfy, head, wire, given):
    longer = wire("DAWN_POSE", HeadMotion(torch.zeros(12, 6), torch.zeros(12, 2)))
    with pytest.raises(NodeFailed, match=r"speech: it has 10 frames and the pose 12"):
        comfy.run({**plotted(head, pose=["longer", 0], speech=["speech", 0]), "longer": longer})
    endless = wire(
        "DAWN_POSE", HeadMotion(torch.zeros(1, 6).expand(10**6, 6), torch.zeros(1, 2).expand(10**6, 2))
    )
    with pytest.raises(NodeFailed, match=r"moving_cursor: 1000000 pictures of this size take 3686\.4 GB"):
        comfy.run({**plotted(head, pose=["endless", 0], moving_cursor=True), "endless": endless})


def test_everything_together_makes_a_clip(comfy, film, staged):
    """Film → blend with the speech's own pose → edit → plot and sample."""
    blend = node(
        "DawnBlendPoseBlink", pose_a=["pose", 0], pose_b=["film", 0], pose_weight=0.7, blink_weight=0.0
    )
    edit = {"pose": ["blend", 0], "preset": "calm", "blink": "none", "keyframes": "0.2s yaw=5 blink=1"}
    plot = node("DawnPlotPoseBlink", pose=["edit", 0], width=640, height=480, moving_cursor=False)
    prompt = {**film(), **change(staged, "edit", **edit), "blend": blend, "plot": plot}
    run = comfy.run(prompt)
    assert run.output("frames").shape == (FRAMES, 128, 128, 3)
    assert run.output("plot").shape == (1, 480, 640, 3)
    assert pose_of(run, "edit").blink[5].max() < 0.07


def test_a_changed_sound_needs_another_pose(comfy, staged, given):
    """The lengths of speech and pose are compared where they meet."""
    prompt = {**staged, "longer": given.audio(sound(0.6))}
    prompt["speech2"] = change(staged, "speech", audio=["longer", 0])["speech"]
    with pytest.raises(NodeFailed, match=r"pose: it has 10 frames, and the speech has 15"):
        comfy.run(change(prompt, "motion", speech=["speech2", 0]))


def test_auditions_show_what_each_seed_gives(comfy, head):
    """Each cell is the beginning of the video that the seed makes."""
    prompt = copy.deepcopy(change(head, "model", model="dawn-nano (built in)"))
    del prompt["speech"]["inputs"]["audio_encoder"]
    prompt["auditions"] = {
        "class_type": "DawnAuditions",
        "inputs": {
            "model": ["model", 0], "portrait": ["portrait", 0], "speech": ["speech", 0], "first_seed": 7, "columns": 2,
            "start": 0.08, "seconds": 0.2, "size": 256,
        },
    }  # fmt: skip
    run = comfy.run(show(prompt, "auditions"))
    sheet, audio, fps = (run.output("auditions", slot) for slot in range(3))
    assert sheet.shape == (5, 512, 512, 3) and fps == 25
    assert audio["waveform"].shape[-1] == 5 * 640
    seeded = change(change(prompt, "pose", seed=8), "motion", seed=8, steps=0, eta=1.0, window=0)
    whole = comfy.run(show(seeded, "frames")).output("frames")[2:7]
    apart = (sheet[:, :256, 256:] - whole).abs()
    assert apart[:, 40:].max() < 0.01, "below the label it is the same performance"
    assert apart[:, :40].max() > 0.3, "the seed is written into it"
    assert (sheet[:, :256, :256] - sheet[:, :256, 256:]).abs()[:, 40:].mean() > 1e-3, "seeds differ"
