"""Room for large results: what arrives, and in how large pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dawn_model.hardware.host_memory import empty_on_host

ROOT = Path(__file__).resolve().parents[3]
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_a_tensor_like_any(dtype):
    room = empty_on_host(2, 3, 4, 3, dtype=dtype)
    assert room.shape == (2, 3, 4, 3) and room.dtype == dtype and room.is_contiguous()
    assert room.fill_(0.5).sum() == 36


FAULTS = """
import resource
import torch
from dawn_model.hardware.host_memory import empty_on_host
room = empty_on_host(256 << 18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
room.fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_it_comes_in_large_pages():
    """256 MB are 65,536 pages of 4 KB; a system without free large pages may give some of them in small ones."""
    if not PAGES.is_file() or "[never]" in PAGES.read_text():
        pytest.skip("this system has no large pages to ask for")
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 65536 / 4
