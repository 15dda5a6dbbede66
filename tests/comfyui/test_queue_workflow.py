"""scripts/queue_workflow.py against a real server: what a user types, sees and gets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import aiohttp
import pytest
import queue_workflow as client
import torch
from comfy_client import ComfyClient
from PIL import Image

SCRIPT = Path(client.__file__)

ENLARGE = {
    "7": {"class_type": "LoadImage", "inputs": {"image": "to be replaced.png"}},
    "8": {
        "class_type": "ImageScaleBy",
        "inputs": {"image": ["7", 0], "upscale_method": "nearest-exact", "scale_by": 2.0},
        "_meta": {"title": "Enlarge"},
    },
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "enlarged"}},
}
PROBE = {"1": {"class_type": "HarnessProbe", "inputs": {"steps": 3, "seconds": 0.0, "fail": False}}}


@pytest.fixture
def command(comfy_server, tmp_path):
    """command(workflow, *arguments) → the arguments of a subprocess that queues it on the server."""

    def build(workflow: dict, *arguments: object) -> list[str]:
        path = tmp_path / "workflow.json"
        path.write_text(json.dumps(workflow))
        server = ["--server", comfy_server.url, "--output", str(tmp_path / "results")]
        return [sys.executable, str(SCRIPT), str(path), *server, *map(str, arguments)]

    return build


def test_a_file_that_is_too_large_for_the_server_says_how_to_start_it(command, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(101 * 2**20))  # ComfyUI takes 100 MB
    done = run(command(ENLARGE, "--image", tmp_path / "large.png"))
    assert done.returncode == 1
    assert (
        "takes no file as large as large.png (101 MB)" in done.stderr
        and "--max-upload-size 201" in done.stderr
    )


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_uploads_runs_and_downloads(command, tmp_path):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a picture.png")
    done = run(command(ENLARGE, "--image", tmp_path / "a picture.png", "--set", "Enlarge.scale_by=3"))
    assert done.returncode == 1 and "no node Enlarge" in done.stderr and "8 (ImageScaleBy)" in done.stderr

    done = run(command(ENLARGE, "--image", tmp_path / "a picture.png", "--set", "ImageScaleBy.scale_by=3"))
    assert done.returncode == 0, done.stderr
    assert "[2/3] Enlarge (node 8)" in done.stdout
    result = Path(done.stdout.splitlines()[-1])
    assert result.parent == tmp_path / "results"
    assert Image.open(result).size == (18, 12)

    again = run(command(ENLARGE, "--image", tmp_path / "a picture.png", "--set", "8.scale_by=3"))
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.splitlines()[-1]).is_file(), (
        "a job that was cached as a whole still gives its files"
    )


def test_audio_is_uploaded_too(command, tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        sound.writeframes((torch.sin(torch.arange(1600) / 5) * 9000).short().numpy().tobytes())
    workflow = {
        "1": {"class_type": "LoadAudio", "inputs": {"audio": "?"}},
        "2": {"class_type": "SaveAudio", "inputs": {"audio": ["1", 0], "filename_prefix": "tone"}},
    }
    done = run(command(workflow, "--audio", tmp_path / "tone.wav"))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).suffix == ".flac"


def test_an_old_console_shows_what_it_can(command, tmp_path):
    """Windows' cp1252 has no Chinese title and no bar; the job runs on and its picture keeps its name."""
    picture = tmp_path / "我的 画像 é.png"
    Image.new("RGB", (6, 4), "red").save(picture)
    workflow = {**ENLARGE, "8": {**ENLARGE["8"], "_meta": {"title": "放大 ▒"}}}
    done = subprocess.run(
        command(workflow, "--image", picture),
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 0, done.stderr
    assert b"[2/3] ?? ? (node 8)" in done.stdout


def test_an_upload_keeps_its_name(comfy_server, tmp_path):
    picture = tmp_path / "我的 画像 é.png"
    Image.new("RGB", (6, 4), "red").save(picture)

    async def upload() -> str:
        async with aiohttp.ClientSession() as session:
            return await ComfyClient(session, comfy_server.url).upload(picture)

    assert asyncio.run(upload()) == picture.name
    assert (comfy_server.base / "input" / picture.name).is_file()


def test_refusal_names_node_and_input(command):
    done = run(command(ENLARGE, "--set", "8.upscale_method=magic"))
    assert done.returncode == 1
    assert "Enlarge (node 8)" in done.stderr and "magic" in done.stderr
    assert "LoadImage (node 7)" in done.stderr and "to be replaced.png" in done.stderr


def test_failing_node_is_named_with_its_message(command):
    done = run(command(PROBE, "--set", "HarnessProbe.fail=true"))
    assert done.returncode == 1
    assert "HarnessProbe (node 1) failed: ValueError: told to fail after 3 steps" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_cancels_the_job_on_the_server(command, comfy_server):
    slow = command(PROBE, "--set", "HarnessProbe.steps=2000", "--set", "HarnessProbe.seconds=0.05")
    # Tests that run in the background were told to ignore SIGINT, and children inherit that.
    process = subprocess.Popen(
        slow,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while "HarnessProbe" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130, errors
    assert "cancelled" in errors
    deadline = time.monotonic() + 5
    while comfy_server.get("/queue")["queue_running"]:
        assert time.monotonic() < deadline, "the job goes on"
        time.sleep(0.05)


def test_says_so_when_no_server_answers(tmp_path):
    (tmp_path / "workflow.json").write_text(json.dumps(PROBE))
    done = run(
        [sys.executable, str(SCRIPT), str(tmp_path / "workflow.json"), "--server", "http://127.0.0.1:1"]
    )
    assert done.returncode == 1
    assert done.stderr == "error: no ComfyUI answers at http://127.0.0.1:1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"nodes": [], "links": []}', r"Export \(API\)"),
        ('{"1": {"inputs": {}}}', "not a workflow in the API format"),
        ("[]", "not a workflow in the API format"),
    ],
)
def test_a_file_that_is_no_api_workflow_is_refused(tmp_path, content, message):
    (tmp_path / "workflow.json").write_text(content)
    with pytest.raises(client.WorkflowError, match=message):
        client.read_workflow(tmp_path / "workflow.json")


def test_set_takes_json_or_text_and_refuses_unknown_inputs():
    prompt = {"1": {"class_type": "Thing", "inputs": {"mode": "a", "mode.chunk": 1, "name": ""}}}
    client.set_input(prompt, "Thing.mode.chunk=12")
    client.set_input(prompt, "1.name=a=b.png")
    assert prompt["1"]["inputs"] == {"mode": "a", "mode.chunk": 12, "name": "a=b.png"}
    with pytest.raises(client.WorkflowError, match="no input nane in the workflow; it has mode, "):
        client.set_input(prompt, "Thing.nane=x")
    with pytest.raises(client.WorkflowError, match=r"expected NODE\.input=value"):
        client.set_input(prompt, "Thing=x")


def test_more_files_than_nodes_is_an_error():
    with pytest.raises(client.WorkflowError, match="2 files for 1 LoadImage nodes"):
        client.put_files({"1": {"class_type": "LoadImage", "inputs": {}}}, "LoadImage", "image", ["a", "b"])
