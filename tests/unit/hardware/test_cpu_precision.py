"""`auto` computes in bfloat16 only where that is measurably faster."""

import pytest
import torch

from dawn_model.hardware import cpu_precision


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"), [(1.0, 0.5, True), (1.0, 0.9, False), (0.2, 1.0, False)]
)
def test_the_faster_precision_wins_by_a_margin(monkeypatch, fp32, bf16, expected):
    monkeypatch.setattr(cpu_precision, "_seconds", {torch.float32: fp32, torch.bfloat16: bf16}.get)
    cpu_precision.bf16_is_faster.cache_clear()
    assert cpu_precision.bf16_is_faster() is expected
    cpu_precision.bf16_is_faster.cache_clear()


def test_what_slows_one_of_them_for_a_moment_does_not_decide(monkeypatch):
    times = {torch.float32: iter([1.0, 1.0, 1.0, 1.0]), torch.bfloat16: iter([2.0, 2.0, 0.5, 2.0])}
    monkeypatch.setattr(cpu_precision, "_seconds", lambda dtype: next(times[dtype]))
    cpu_precision.bf16_is_faster.cache_clear()
    assert cpu_precision.bf16_is_faster() is True
    cpu_precision.bf16_is_faster.cache_clear()


def test_the_answer_is_measured_once():
    cpu_precision.bf16_is_faster.cache_clear()
    assert cpu_precision.bf16_is_faster() == cpu_precision.bf16_is_faster()
    assert cpu_precision.bf16_is_faster.cache_info().misses == 1
