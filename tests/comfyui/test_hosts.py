"""Installed as people do: under any folder name, twice, read-only, with the switches that ComfyUI has."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from comfy_harness import ServerComfy
from comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("__init__.py", "dawn_model", "nodes", "media", "web", "workflows", "subgraphs", "pyproject.toml")


def short_clip() -> dict:
    """The staged workflow on .4 s of what the plugin brings."""
    prompt = json.loads((ROOT / "workflows" / "api" / "dawn_talking_head.json").read_text(encoding="utf-8"))
    example = {
        "class_type": "DawnExample",
        "inputs": {"portrait": "astronaut.png", "speech": "sense_and_sensibility.wav"},
    }
    del prompt["2"]
    prompt["1"] = example
    prompt["6"]["inputs"] |= {"audio": ["1", 1], "start": 1.0, "duration": 0.4}
    return prompt


def fetch(url: str, path: str) -> bytes:
    with urllib.request.urlopen(url + path, timeout=30) as response:
        return response.read()


def install(base: Path, name: str, link: bool = True) -> Path:
    """The plugin in ComfyUI's custom_nodes, under a name of its own."""
    target = base / "custom_nodes" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(ROOT, target_is_directory=True)
        return target
    for part in SHIPPED:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return target


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ComfyUI-DAWN", ()),
        ("my-dawn-nodes-v2", ("--cache-none", "--disable-metadata")),
        ("dawn.talking head", ("--cache-lru", "1")),
        ("nodes", ("--force-fp16",)),
        ("dawn_model", ("--fast",)),
        ("会说话 é", ("--disable-all-custom-nodes", "--whitelist-custom-nodes", "会说话 é")),
    ],
)
def test_it_runs_wherever_it_is_put(comfyui, tmp_path, name, arguments, monkeypatch):
    base = tmp_path / "models é and all"
    install(base, name)
    monkeypatch.chdir(tmp_path)
    with ComfyServer(comfyui, base, arguments=("--cpu", *arguments)) as server:
        comfy = ServerComfy(server)
        run = comfy.run(short_clip())
        listed = comfy.get("/workflow_templates")
        templates = {path.stem for path in (ROOT / "workflows").glob("*.json")}
        assert set(listed[name]) == templates
        for template in templates:
            fetch(server.url, f"/api/workflow_templates/{quote(name)}/{quote(template)}.json")
            fetch(server.url, f"/api/workflow_templates/{quote(name)}/{quote(template)}.jpg")
        scripts = [
            path for path in comfy.get("/extensions") if path.startswith(f"/extensions/{quote(name)}/")
        ]
        assert len(scripts) == len(list((ROOT / "web").glob("*.js")))
        for script in scripts:
            fetch(server.url, script)
        # The page knows a node by "custom_nodes.NAME" and takes what stands before the next dot for the name.
        fetch(server.url, f"/extensions/{quote(name.split('.')[0])}/docs/DawnExample.md")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(server.url, f"/extensions/{quote(name)}/..%2Fpyproject.toml")
    (file,) = run.ui["11"]["images"]
    with av.open(str(base / "output" / file["subfolder"] / file["filename"])) as video:
        assert video.streams.video[0].frames == 10 and len(video.streams.audio) == 1


def test_a_read_only_copy_beside_another(comfyui, tmp_path):
    """Two copies: ComfyUI takes the nodes of one of them, and both load."""
    base = tmp_path / "base"
    copy = install(base, "dawn-a", link=False)
    install(base, "dawn-b")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        with ComfyServer(comfyui, base) as server:
            comfy = ServerComfy(server)
            assert comfy.run(short_clip()).ui["11"]["images"]
            log = server.log_tail(400)
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
    assert "IMPORT FAILED" not in log and "Traceback" not in log


def test_nothing_is_written_beside_the_code(comfyui, tmp_path):
    """But for Python's own caches."""
    base = tmp_path / "base"
    copy = install(base, "dawn", link=False)
    before = {path for path in copy.rglob("*") if "__pycache__" not in path.parts}
    with ComfyServer(comfyui, base) as server:
        ServerComfy(server).run(short_clip())
    assert {path for path in copy.rglob("*") if "__pycache__" not in path.parts} == before


@pytest.fixture
def comfyui() -> Path:
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip("COMFYUI_PATH names no ComfyUI; `bash scripts/test.sh` brings one")
    return Path(path).resolve()
