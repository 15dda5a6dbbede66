"""How a workflow is cut for a split clip, and how the parts are joined."""

from __future__ import annotations

import copy
import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from comfy_client import WorkflowError

av = pytest.importorskip("av", reason="PyAV comes with ComfyUI")

from fleet.join import Sound, join_videos  # noqa: E402
from fleet.split import SplitRender, _sum  # noqa: E402

API = Path(__file__).resolve().parents[3] / "workflows" / "api"
OUTPUTS = {"SaveVideo", "SaveImage", "PreviewImage", "MaskPreview", "DawnSaveMotion"}


@pytest.fixture
def workflow():
    return json.loads((API / "dawn_long_audio.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["dawn_talking_head", "dawn_full_picture", "dawn_long_audio", "dawn_edited_pose"]
)
def test_the_workflows_with_stages_can_be_split(name):
    SplitRender(json.loads((API / f"{name}.json").read_text(encoding="utf-8")), OUTPUTS, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"10": ("first_frame", 5)}, r"node 10 \(DawnRenderFrames\) renders a range already"),
        ({"10": ("motion", "file")}, "motion of node 10 .* is not connected"),
        ({"11": ("first_frame", 5)}, r"node 11 \(DawnPasteBack\) must have first_frame 0"),
        ({"12": ("audio", ["2", 0])}, r"node 12 \(CreateVideo\) must take its audio from node 10"),
    ],
)
def test_what_would_not_be_exact_is_refused(workflow, changes, message):
    for node, (key, value) in changes.items():
        workflow[node]["inputs"][key] = value
    with pytest.raises(WorkflowError, match=message):
        SplitRender(workflow, OUTPUTS, 4)


def test_nodes_that_may_look_at_several_frames_are_refused(workflow):
    workflow["20"] = {"class_type": "Interpolate", "inputs": {"images": ["11", 0]}}
    workflow["12"]["inputs"]["images"] = ["20", 0]
    with pytest.raises(WorkflowError, match=r"node 20 \(Interpolate\) may look at several frames"):
        SplitRender(workflow, OUTPUTS, 4)


def test_two_rendered_clips_and_chained_pastes_are_refused(workflow):
    twice = {**copy.deepcopy(workflow), "20": copy.deepcopy(workflow["10"])}
    with pytest.raises(WorkflowError, match="one DawnRenderFrames; this one has 2"):
        SplitRender(twice, OUTPUTS, 4)
    workflow["20"] = copy.deepcopy(workflow["11"])
    workflow["20"]["inputs"]["onto"] = ["11", 0]
    with pytest.raises(WorkflowError, match=r"node 20 .* pastes what another DawnPasteBack made"):
        SplitRender(workflow, OUTPUTS, 4)


def test_sums_of_measured_colors_lose_nothing():
    texts = [json.dumps({"frames": n, "sums": [[0.1 * n] * 3, [0.7 * n] * 3]}) for n in (1, 2, 3)]
    total = json.loads(_sum(texts))
    assert total["frames"] == 6 and total["sums"][0][0] == 0.1 + 0.2 + 0.1 * 3


# ---------------------------------------------------------------- joining


def pictures(count, first=0):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return [np.roll(base, 2 * number, axis=1) for number in range(first, first + count)]


def encoded(frames, codec="libx264", **options) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as video:
        stream = video.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        video.mux(stream.encode())
    return target.getvalue()


def decoded(content):
    with av.open(io.BytesIO(content)) as video:
        return [
            (frame.pts * frame.time_base, frame.to_ndarray())
            for frame in video.decode(video.streams.video[0])
        ]


def test_packets_are_copied_and_sound_is_as_long_as_the_pictures():
    counts = [13, 1, 12]
    parts = [encoded(pictures(count, first)) for count, first in zip(counts, (0, 13, 14), strict=True)]
    noise = np.random.default_rng(1).standard_normal(2 * 16000)
    smooth = np.convolve(noise, np.ones(16) / 16, "same")  # what AAC keeps
    sound = Sound(smooth[None].astype(np.float32) / 4, 16000)
    joined = join_videos(parts, counts, sound, {"prompt": "{}"})
    frames = decoded(joined)
    assert [at for at, _ in frames] == [Fraction(number, 25) for number in range(26)]
    expected = [frame for part in parts for _, frame in decoded(part)]
    assert all((one == two).all() for (_, one), two in zip(frames, expected, strict=True))
    with av.open(io.BytesIO(joined)) as video:
        assert video.metadata["prompt"] == "{}"
        heard = np.concatenate([part.to_ndarray()[0] for part in video.decode(video.streams.audio[0])])
    length = 26 * 16000 // 25
    assert 0 <= len(heard) - length < 1024, "AAC comes in blocks of 1024 samples"
    lag = np.correlate(heard[:length], sound.waveform[0, :length], "full").argmax() - (length - 1)
    assert abs(lag) <= 1, "samples"


def test_a_short_part_and_another_encoder_are_refused():
    with pytest.raises(WorkflowError, match="range 2 has 3 frames instead of 4"):
        join_videos([encoded(pictures(4)), encoded(pictures(3))], [4, 4], None, {})
    with pytest.raises(WorkflowError, match="range 2 was encoded otherwise"):
        join_videos([encoded(pictures(4)), encoded(pictures(4), profile="baseline")], [4, 4], None, {})
