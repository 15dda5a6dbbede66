"""scripts/fleet.py with two real ComfyUIs that it starts on a local Ray: workers are killed, a clip is split."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="requirements-fleet.txt is not installed")
av = pytest.importorskip("av", reason="PyAV comes with ComfyUI")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "fleet.py"
PORTRAIT, SPEECH = ROOT / "media/portraits/astronaut.png", ROOT / "media/speech/sense_and_sensibility.wav"

pytestmark = [
    pytest.mark.comfy,
    pytest.mark.skipif(not os.environ.get("COMFYUI_PATH"), reason="COMFYUI_PATH names no ComfyUI"),
]


@pytest.fixture
def folder(tmp_path):
    """The staged workflow with small results, its frames saved as they are beside the video."""
    workflow = json.loads((ROOT / "workflows/api/dawn_talking_head.json").read_text(encoding="utf-8"))
    del workflow["12"]
    workflow["15"]["inputs"]["longest_side"] = 128
    workflow["20"] = {"class_type": "SaveImage", "inputs": {"images": ["15", 0], "filename_prefix": "frames"}}
    (tmp_path / "workflow.json").write_text(json.dumps(workflow))
    return tmp_path


def table(folder: Path, rows: list[tuple[str, str, float]]) -> Path:
    path = folder / "jobs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "LoadImage.image", "LoadAudio.audio", "DawnSampleMotion.seed", "5.threshold",
                         "DawnEncodeAudio.duration"])  # fmt: skip
        for seed, (name, threshold, seconds) in enumerate(rows):
            writer.writerow([name, PORTRAIT, SPEECH, seed, threshold, seconds])
    return path


def command(folder: Path, output: str, *arguments: str) -> list[str]:
    files = [str(folder / "workflow.json"), str(folder / "jobs.csv"), "--output", str(folder / output)]
    return [sys.executable, str(SCRIPT), *files, "--cpus", "1", "--workers", "2", *arguments]


def lines(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def below(process: int) -> list[int]:
    """All processes that this one started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        waiting += (own := children.get(waiting.pop(), []))
        found += own
    return found


def with_words(processes: list[int], words: str) -> list[int]:
    found = []
    for process in processes:
        try:
            text = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in text:
            found.append(process)
    return found


def frames_of(folder: Path, files: str) -> np.ndarray:
    names = [name for name in files.split("|") if name.endswith(".png")]
    return np.stack([np.array(Image.open(folder / name)) for name in names])


def test_a_server_and_a_worker_die_and_every_clip_is_made_once(folder):
    rows = [(f"clip{number}", "0.5", 0.2) for number in range(6)]
    rows[2] = ("no_face", "0.9999", 0.2)
    table(folder, rows)
    process = subprocess.Popen(
        command(folder, "out", "--retries", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    results = folder / "out" / "results.csv"
    while len(lines(results)) < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    own = below(process.pid)
    (server, *_) = with_words(own, "comfy_launcher.py")
    os.kill(server, signal.SIGKILL)
    actors = with_words(own, "ray::WorkerGroup")
    of_server = [actor for actor in actors if server in below(actor)]
    os.kill(next(actor for actor in actors if actor not in of_server), signal.SIGKILL)
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 1, errors  # one row has no face
    assert "5 done, 1 failed" in output
    assert "no_face" in errors and "No face found" in errors
    found = {line["name"]: line for line in lines(results)}
    assert len(lines(results)) == 6 and {line["state"] for line in found.values()} == {"done", "failed"}
    calm = subprocess.run(
        command(folder, "calm", "--retries", "0"), capture_output=True, text=True, timeout=400
    )
    assert calm.returncode == 1, calm.stderr
    undisturbed = {line["name"]: line for line in lines(folder / "calm" / "results.csv")}
    for name, line in found.items():
        if line["state"] == "done":
            frames = frames_of(folder / "out", line["files"])
            assert len(frames) == 5, name
            assert (frames == frames_of(folder / "calm", undisturbed[name]["files"])).all(), name
    assert with_words(own, "comfy_launcher.py") == [], "no ComfyUI stays behind"
    assert not list(Path(tempfile.gettempdir()).glob(f"dawn-fleet-*-{process.pid}"))


def test_a_split_clip_has_the_frames_of_the_whole_one(folder):
    table(folder, [("long", "0.5", 1.0)])
    done = [
        subprocess.run(command(folder, output, *split), capture_output=True, text=True, timeout=400)
        for output, split in (("whole", ("--workers", "1")), ("parts", ("--split-render", "3")))
    ]
    for process in done:
        assert process.returncode == 0, process.stderr
    whole, parts = (lines(folder / name / "results.csv")[0]["files"] for name in ("whole", "parts"))
    expected, found = frames_of(folder / "whole", whole), frames_of(folder / "parts", parts)
    assert expected.shape == found.shape == (25, 128, 128, 3)
    assert (expected == found).all()
    decoded, sounds = [], []
    for name in ("whole", "parts"):
        with av.open(str(folder / name / "long.mp4")) as video:
            pictures = list(video.decode(video.streams.video[0]))
        assert [float(frame.pts * frame.time_base) for frame in pictures] == pytest.approx(np.arange(25) / 25)
        decoded.append(np.stack([frame.to_ndarray(format="rgb24") for frame in pictures]).astype(int))
        with av.open(str(folder / name / "long.mp4")) as video:
            stream = video.streams.audio[0]
            sounds.append(np.concatenate([part.to_ndarray()[0] for part in video.decode(stream)]))
    # Both were encoded with loss from the same frames.
    assert np.abs(decoded[1] - found).mean() < 1.2 * np.abs(decoded[0] - expected).mean() + 0.1
    lag = np.correlate(sounds[0][:16000], sounds[1][:16000], "full").argmax() - (16000 - 1)
    assert abs(lag) <= 1, "samples"
