"""The sampler and the renderer when memory is short, in a real ComfyUI."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from comfy_harness import Interrupted, NodeFailed
from talking_head import change, show

ROUNDING = 2e-4
"""Of a whole sampling, as for the golden trajectories: an untrained network magnifies it step by step."""


@pytest.fixture
def denoiser(comfy, head):
    """The class of the tiny denoiser, as ComfyUI has loaded it."""
    return type(comfy.run(head).output("model").network("denoiser"))


def result(run, node: str = "motion") -> torch.Tensor:
    """Of sampling (untrained, such motion folds the picture, which would magnify rounding), or of rendering."""
    return run.output("frames").clone() if node == "frames" else run.output("motion").latents.flow.clone()


@pytest.mark.parametrize("node", ["motion", "frames"])
def test_frames_per_slice_change_nothing(comfy, head, node):
    whole = result(comfy.run(head), node)
    for frames in (1, 3, 500):
        run = comfy.run(change(head, node, frames_per_slice=frames))
        assert node in run.executed
        assert (result(run, node) - whole).abs().max() < ROUNDING


def test_the_log_says_what_was_chosen(comfy, head, caplog):
    comfy.forget()
    with caplog.at_level(logging.INFO):
        comfy.run(change(head, "motion", frames_per_slice=3))
    assert "DAWN Sample Motion: 3 of 10 frames at a time, about" in caplog.text
    assert "DAWN Render Frames: 4 of 10 frames at a time, about" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        "OutOfMemoryError",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
        "MPS backend out of memory (MPS allocated: 9.00 GB)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!",
    ],
)
def test_sampling_goes_on_at_the_same_step_when_memory_runs_out(
    comfy, head, denoiser, monkeypatch, caplog, error
):
    prompt = change(head, "motion", steps=4, frames_per_slice=4)
    expected = result(comfy.run(prompt))
    comfy.forget()
    forward, calls = denoiser.forward, []

    def small_memory(self, x, timestep, clip, slices):
        calls.append((int(timestep), slices.budget))
        result = forward(self, x, timestep, clip, slices)
        if len(calls) in (2, 3):
            kind = torch.cuda.OutOfMemoryError if error == "OutOfMemoryError" else RuntimeError
            raise kind(error)
        return result

    monkeypatch.setattr(denoiser, "forward", small_memory)
    assert (result(comfy.run(prompt)) - expected).abs().max() < ROUNDING
    timesteps, budgets = zip(*calls, strict=True)
    assert timesteps == (800, 600, 600, 600, 400, 200), "a step that is done is done again"
    full = budgets[0]
    assert budgets == (full, full, full // 2, *[full // 4] * 3)
    assert "DAWN Sample Motion: out of memory, continuing with 1 frames at a time" in caplog.text


def test_numbers_that_overflow_are_an_error_and_no_black_video(comfy, head, denoiser, monkeypatch):
    comfy.forget()
    forward = denoiser.forward
    monkeypatch.setattr(denoiser, "forward", lambda self, *given: forward(self, *given) * float("nan"))
    with pytest.raises(
        NodeFailed, match=r"model: the sampled motion holds values that are not numbers\. Choose fp32"
    ):
        comfy.run(head)


def test_the_user_may_cancel_between_two_slices(comfy, head, denoiser, monkeypatch):
    """A step of a long clip takes minutes on a CPU."""
    import comfy.model_management as mm

    comfy.forget()
    asked, finished, forward = [], [], denoiser.forward

    def counted(self, *given):
        result = forward(self, *given)
        finished.append(1)
        return result

    def stop_at_the_third() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise mm.InterruptProcessingException

    monkeypatch.setattr(denoiser, "forward", counted)
    comfy.run(show(head, "pose"))
    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", stop_at_the_third)
    with pytest.raises(Interrupted):
        comfy.run(show(change(head, "motion", frames_per_slice=1), "motion"))
    assert not finished and len(asked) == 3, "in the middle of the first step"


def test_memory_that_runs_out_for_good_is_an_error_and_the_next_job_runs(comfy, head, denoiser, monkeypatch):
    comfy.forget()
    with monkeypatch.context() as patch:
        patch.setattr(
            denoiser, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory"))
        )
        with pytest.raises(NodeFailed, match="no memory"):
            comfy.run(head)
    assert comfy.run(head).output("frames").shape[0] == 10


@pytest.mark.parametrize(
    ("node", "name"), [("motion", "DAWN Sample Motion"), ("frames", "DAWN Render Frames")]
)
def test_what_can_not_fit_is_refused_before_it_starts(comfy, head, denoiser, monkeypatch, node, name):
    import comfy.model_management as mm

    comfy.run(head)
    with monkeypatch.context() as patch:
        patch.setattr(mm, "get_free_memory", lambda *_: 2_000_000)
        patch.setattr(denoiser, "forward", lambda *_: pytest.fail("it started"))
        message = (
            rf"{name}: 10 frames need at least \d+ MB beside the weights, and 2 MB are free.*shorter audio"
        )
        with pytest.raises(NodeFailed, match=message):
            comfy.run(change(head, node, frames_per_slice=1))
    assert comfy.run(head).output("frames").shape[0] == 10


def test_little_memory_means_small_slices(comfy, head, denoiser, monkeypatch):
    import comfy.model_management as mm

    whole, seen, forward = result(comfy.run(head)), [], denoiser.forward

    def noting(self, x, timestep, clip, slices):
        seen.append(slices.budget)
        return forward(self, x, timestep, clip, slices)

    monkeypatch.setattr(denoiser, "forward", noting)
    comfy.forget()
    monkeypatch.setattr(mm, "get_free_memory", lambda *_: 73_000_000)
    assert (result(comfy.run(head)) - whole).abs().max() < ROUNDING
    comfy.forget()
    monkeypatch.setattr(mm, "get_free_memory", lambda *_: 10**12)
    comfy.run(head)
    assert seen[0] < seen[-1]


def test_the_second_sampler_is_another_one_and_deterministic(comfy, head):
    ddim = comfy.run(head).output("frames").clone()
    solver = change(head, "motion", sampler="dpmpp_2m", steps=3)
    frames = comfy.run(solver).output("frames").clone()
    assert (frames - ddim).abs().max() > 1e-3
    assert torch.equal(comfy.run(change(solver, "motion", eta=0.5)).output("frames"), frames)


GPU = torch.device("cuda", 0)
MEGABYTE = 10**6


class Paged:
    """A model whose weights ComfyUI 0.33 pages: in megabytes, how large it is and how much lies on the GPU."""

    load_device = GPU

    def __init__(self, size: int, there: int, always_there: int = 0) -> None:
        self.model = SimpleNamespace(model_loaded_weight_memory=always_there * MEGABYTE)
        self._size, self._there = size * MEGABYTE, there * MEGABYTE

    def is_dynamic(self) -> bool:
        return True

    def model_size(self) -> int:
        return self._size

    def loaded_size(self) -> int:
        return self._there


@pytest.fixture
def gpu(comfy, monkeypatch):
    """gpu(free, loaded) is a GPU of 8 GB beside a host of 64 GB; it returns our module that plans."""
    import comfy.model_management as mm

    def make(free: int, loaded: list[Paged]):
        def free_of(device=None, *_):
            return 64_000 * MEGABYTE if device == torch.device("cpu") else free * MEGABYTE

        monkeypatch.setattr(mm, "get_free_memory", free_of)
        monkeypatch.setattr(mm, "get_total_memory", lambda *_: 8000 * MEGABYTE)
        monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 400 * MEGABYTE)
        monkeypatch.setattr(mm, "load_models_gpu", lambda *args, **kwargs: None)
        monkeypatch.setattr(mm, "loaded_models", lambda *_: [*loaded, None])
        return sys.modules[f"{comfy.plugin.__name__}.nodes.support.host"]

    return make


def need(host, frames: int = 16):
    return host.Need(
        frames=frames, fixed=200 * MEGABYTE, clip=0, slice=100 * MEGABYTE, widest=1, least=0, preferred=16
    )


@pytest.mark.parametrize(
    ("free", "others", "own", "frames"),
    [
        (2600, [], (300, 300), 16),
        (700, [], (300, 300), 1),  # 400 are the user's
        (700, [Paged(3000, 2500)], (300, 300), 16),
        (700, [Paged(3000, 2500, always_there=1900)], (300, 300), 4),  # what is never paged stays
        (2600, [], (1500, 0), 4),  # own weights that are not there yet want room too
        (500, [], (600, 600), 4),  # and make way before the clip is refused
    ],
)
def test_weights_that_make_way_are_room(gpu, free, others, own, frames):
    own = Paged(*own)
    host = gpu(free, [*others, own])
    _, plan = host.load_for([own], need(host), 0, "a test")
    assert plan.frames == frames


def test_weights_on_another_device_make_no_room(gpu):
    other, own = Paged(3000, 2500), Paged(300, 300)
    other.load_device = torch.device("cuda", 1)
    host = gpu(700, [other, own])
    assert host.load_for([own], need(host), 0, "a test")[1].frames == 1


def test_where_nobody_knows_what_is_free_the_usual_is_tried(gpu, monkeypatch):
    """ComfyUI says 1 GB of every card on DirectML, which would refuse the authors' models on any."""
    import comfy.model_management as mm

    own = Paged(1200, 1200)
    own.is_dynamic = lambda: False
    host = gpu(1000, [own])
    monkeypatch.setattr(mm, "get_total_memory", lambda *_: 1000 * MEGABYTE)
    monkeypatch.setattr(mm, "is_directml_enabled", lambda: True)
    assert host.load_for([own], need(host), 0, "a test")[1].frames == 16
