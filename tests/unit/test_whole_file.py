"""A full disk, or a process that is killed: what was being written is there whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dawn_model.checkpoints.checkpoint import Checkpoint, save_checkpoint
from dawn_model.config import DawnConfig
from dawn_model.head_motion.file import load_head_motion, save_head_motion
from dawn_model.motion_file import MotionFile, read_motion, write_motion
from dawn_model.structures import HeadMotion, MotionLatents

ROOT = Path(__file__).resolve().parents[2]
ROOM = 16 << 10
FRAMES = 4000

Save = Callable[[Path], None]


def track(path: Path) -> None:
    save_head_motion(HeadMotion(torch.rand(FRAMES, 6), torch.rand(FRAMES, 2)), path)


def motion(path: Path) -> None:
    latents = MotionLatents(torch.zeros(100, 8, 8, 2), torch.zeros(100, 1, 8, 8))
    write_motion(path, MotionFile(latents, torch.zeros(1, 64000), 16000, "dawn", 8))


def checkpoint(path: Path) -> None:
    save_checkpoint(Checkpoint(DawnConfig(), {"denoiser": {"weight": torch.zeros(9999)}}), path)


WRITERS = [
    ("a.csv", track),
    ("a.safetensors", track),
    ("a.motion.safetensors", motion),
    ("m.safetensors", checkpoint),
]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond `ROOM`: for the writer the same as a disk with no more space."""
    resource = pytest.importorskip("resource", reason="this system has no limits of a process")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(("name", "save"), WRITERS, ids=[name for name, _ in WRITERS])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, full_disk, name, save):
    with pytest.raises(
        ValueError, match=rf"^{name} can not be written \(.*\), and nothing is left of it\. Free space"
    ):
        save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "save"), WRITERS[:3], ids=[name for name, _ in WRITERS[:3]])
def test_a_failed_write_keeps_the_file_that_was_there(tmp_path, request, name, save):
    save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    request.getfixturevalue("full_disk")
    with pytest.raises(ValueError, match="can not be written"):
        save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_gone_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv can not be written \(No such file or directory\)"):
        track(tmp_path / "gone" / "a.csv")


KILLED_WHILE_WRITING = """
import os, pathlib, resource, signal, sys
from tests.unit.test_whole_file import ROOM, WRITERS
for name, save in WRITERS:
    if not os.fork():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the system kills who writes more
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
        save(pathlib.Path(sys.argv[1], name))
        os._exit(0)
    assert os.WIFSIGNALED(os.wait()[1]), "it was not killed"
"""


def test_a_process_killed_in_writing_leaves_no_file_that_is_listed(tmp_path):
    pytest.importorskip("resource", reason="this system has no limits of a process")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], cwd=ROOT, check=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left and not any(name.endswith((".csv", ".safetensors")) for name in left), left
    for name, save in WRITERS:
        save(tmp_path / name)
    assert load_head_motion(tmp_path / "a.csv").pose.shape == (FRAMES, 6)
    assert len(read_motion(tmp_path / "a.motion.safetensors").latents) == 100
