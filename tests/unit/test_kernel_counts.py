"""How many kernels a denoising step launches on CUDA, and how often it waits, counted without a device."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from count_kernels import counted, step_kernels  # noqa: E402

# As a program it needs the repository there; for the other tests, see conftest.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.mark.parametrize(("frames", "pixels", "bound"), [(50, 128, 1101), (200, 128, 1151), (200, 256, 1300)])
def test_a_step_launches_few_kernels_and_never_waits(frames, pixels, bound):
    parts = step_kernels(frames, pixels).values()
    assert sum(part.total for part in parts) <= bound
    assert sum(part.synchronisations for part in parts) == 0


@torch.inference_mode(False)
def test_views_cost_nothing_and_waits_are_seen():
    x = torch.empty(4, 6, device="meta")
    assert counted(lambda: x.t()[1:].reshape(-1).view(4, 5).expand(3, 4, 5)).operations == {"clone": 1}
    waiting = counted(lambda: [x.add_(1).to(torch.float16), torch.ones(3).to("meta")])
    assert (waiting.total, waiting.synchronisations) == (3, 1)
    with pytest.raises(RuntimeError, match="meta"):
        counted(lambda: x.sum().item())
