"""Times this code against the plain computation, in the same run, on this machine.

    .venv/bin/python benchmarks/run.py                       # CPU, half an hour on two cores
    .venv/bin/python benchmarks/run.py --frames 100 --dtypes fp32 --repeats 1
    .venv/bin/python benchmarks/run.py --device cuda

Times alternate between the two implementations and are medians; peak memory is that of a fresh process for each
case, minus what the weights and inputs need. Results go to benchmarks/results/<device>.json and .md, row by row; a
verdict per goal (goals.py) ends them. benchmarks/readme.py brings new ones into the README.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import recipe  # noqa: E402
from goals import verdicts  # noqa: E402
from plain_denoiser import plain_denoiser  # noqa: E402
from plain_flow_autoencoder import PlainFlowAutoencoder  # noqa: E402
from plot import draw  # noqa: E402
from record import keep  # noqa: E402

from dawn_model.config import DawnConfig, DenoiserConfig, FlowAutoencoderConfig  # noqa: E402
from dawn_model.denoiser.unet3d import UNet3D  # noqa: E402
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder  # noqa: E402
from dawn_model.head_motion.pose_blink import PoseBlinkDecoder  # noqa: E402
from dawn_model.layers.slices import Slices  # noqa: E402
from dawn_model.official_keys import apply_table  # noqa: E402
from dawn_model.official_keys.denoiser import DENOISER_KEYS  # noqa: E402
from dawn_model.official_keys.flow_autoencoder import FLOW_AUTOENCODER  # noqa: E402
from dawn_model.official_keys.fusing import fuse  # noqa: E402

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RENDER_FRAMES = 4
SHORT = 100
"""Frames of the clip that long ones are compared with."""
TEN_MINUTES = 10 * 60 * 25
STAGES = ["denoiser", "decode", "pose"]


def official(name: str, prefix: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix): recipe.weight(key, spec["shape"])
        for key, spec in recipe.manifest(name).items()
        if spec["recipe"] != "constructed" and key.startswith(prefix.split(".")[0])
    }


def recipe_denoiser() -> UNet3D:
    """At full size, with the made-up weights of the golden tensors."""
    with torch.device("meta"):
        unet = UNet3D(DenoiserConfig())
    unet.load_state_dict(apply_table(official("dawn_128", "diffusion."), DENOISER_KEYS)[0], assign=True)
    return unet


def recipe_autoencoder() -> FlowAutoencoder:
    autoencoder = FlowAutoencoder(FlowAutoencoderConfig())
    state = {f"generator.{key}": tensor for key, tensor in official("lfg_128", "generator.").items()}
    ours, origin, _ = apply_table(state, FLOW_AUTOENCODER)
    autoencoder.load_state_dict(fuse(ours, origin))
    return autoencoder


def denoiser_call(
    which: str, frames: int, size: int, dtype: torch.dtype, device: str
) -> Callable[[], torch.Tensor]:
    """One denoiser call on a clip, everything that one clip needs once already prepared."""
    x = torch.randn(1, 3, frames, size, size).to(device, dtype)
    source = torch.randn(1, 272, size, size).to(device, dtype)
    condition = torch.randn(1, frames, 1032).to(device, dtype)
    timestep = torch.tensor([500], device=device)
    if which == "plain":
        state = {
            key.removeprefix("denoise_fn."): tensor.to(device, dtype)
            for key, tensor in official("dawn_128", "diffusion.").items()
        }
        return lambda: plain_denoiser(state, x, timestep, source, condition)
    unet = recipe_denoiser().to(device, dtype).eval()
    clip = unet.prepare(source, condition)
    slices = Slices.for_device(torch.device(device))
    return lambda: unet(x, timestep, clip, slices)


def render_call(which: str, size: int, dtype: torch.dtype, device: str) -> Callable[[], torch.Tensor]:
    """RENDER_FRAMES decoded frames of one portrait."""
    picture = torch.rand(1, 3, size, size).to(device)
    flow = (torch.rand(RENDER_FRAMES, size // 4, size // 4, 2) * 2 - 1).to(device)
    occlusion = torch.rand(RENDER_FRAMES, 1, size // 4, size // 4).to(device)
    if which == "plain":
        state = official("lfg_128", "generator.")
        plain = PlainFlowAutoencoder(
            {f"generator.{key}": tensor.to(device, dtype) for key, tensor in state.items()}
        )
        picture, flow, occlusion = (tensor.to(dtype) for tensor in (picture, flow, occlusion))
        return lambda: [
            plain.decode(picture, flow[i : i + 1], occlusion[i : i + 1]) for i in range(RENDER_FRAMES)
        ]
    autoencoder = recipe_autoencoder().to(device, dtype).eval()
    source = autoencoder.encode(picture, dtype)
    return lambda: autoencoder.decode(source, flow, occlusion)


def pose_blink_call(frames: int, device: str) -> Callable[[], object]:
    """Head motion and blinks of a whole audio, by the authors' two networks (weights as they come)."""
    networks = [PoseBlinkDecoder(motion).to(device).eval() for motion in DawnConfig().motion]
    audio, z = torch.randn(1, frames, 1024).to(device), torch.randn(1, frames, 256).to(device)
    first = {network: torch.rand(1, network.config.output_dim).to(device) for network in networks}
    return lambda: [network(audio, first[network], z) for network in networks]


def seconds(call: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(calls: dict[str, Callable], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each call, alternating, after one of each that does not count; under "<name>_s"."""
    times: dict[str, list[float]] = {which: [] for which in calls}
    for repeat in range(options.repeats + 1):
        for which, call in calls.items():
            taken = seconds(call, options.device)
            if repeat:
                times[which].append(taken)
    return {f"{which}_s": statistics.median(taken) for which, taken in times.items()}


def products_to_convolutions() -> float:
    """By how much all matrix products of a call outweigh its convolutions, scores over time left out, which grow
    with the window. Measured against the convolutions' speed, it is the time that the rest should take."""
    with torch.device("meta"):
        unet = UNet3D(DenoiserConfig())
        clip = unet.prepare(torch.empty(1, 272, 32, 32), torch.empty(1, 1, 1032))
        with FlopCounterMode(display=False) as counter:
            unet(torch.empty(1, 3, 1, 32, 32), torch.empty(1), clip)
    counts = counter.get_flop_counts()["Global"]
    return sum(counts.values()) / counts[torch.ops.aten.convolution]


def convolution_call(frames: int, size: int, dtype: torch.dtype, device: str) -> Callable[[], None]:
    """The roofline: only the denoiser's convolutions that remain per step, in channels-last, nothing between them."""
    calls: list[Callable[[], torch.Tensor]] = []
    with torch.device("meta"):
        unet = UNet3D(DenoiserConfig())

    def note(module: torch.nn.Module, args: tuple, _out: torch.Tensor) -> None:
        if module is unet.source:
            return
        given = torch.randn(args[0].shape).to(device, dtype, memory_format=torch.channels_last)
        layer = type(module)(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding
        ).to(device, dtype)
        calls.append(lambda: layer(given))

    layers = [m for m in unet.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    meta = {"device": "meta"}
    clip = unet.prepare(torch.empty(1, 272, size, size, **meta), torch.empty(1, frames, 1032, **meta))
    unet(torch.empty(1, 3, frames, size, size, **meta), torch.empty(1, **meta), clip)
    for hook in hooks:
        hook.remove()

    def run() -> None:
        for call in calls:
            call()

    return run


def peak_bytes(kind: str, which: str, frames: int, size: int, dtype: str, device: str) -> int:
    """Peak memory of one call in a fresh process, above what was there before it."""
    command = [sys.executable, __file__, "--peak", kind, which, str(frames), str(size), dtype, device]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_peak(kind: str, which: str, frames: int, size: int, dtype: str, device: str) -> int:
    make = {
        "denoiser": lambda: denoiser_call(which, frames, size, DTYPES[dtype], device),
        "render": lambda: render_call(which, size, DTYPES[dtype], device),
        "pose": lambda: pose_blink_call(frames, device),
    }[kind]()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        make()
        return torch.cuda.max_memory_allocated() - before
    # Linux: resets the high-water mark, which the weights' construction has raised.
    Path("/proc/self/clear_refs").write_text("5")
    before = process_status("VmRSS")
    make()
    return process_status("VmHWM") - before


def process_status(field: str) -> int:
    """Bytes of one line of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32", "bf16"])
    parser.add_argument(
        "--long-frames", type=int, nargs="*", default=[1600], help="clips without the plain way"
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        kind, which, frames, size, dtype, device = options.peak
        print(measure_peak(kind, which, int(frames), int(size), dtype, device))
        return

    rows = []
    for row in measured(options):
        rows = keep(row, options.device)
    if len(options.frames) > 1 and "denoiser" in options.only:
        print(draw(options.device))
    print(*verdicts(rows), sep="\n")


def measured(options: argparse.Namespace) -> Iterator[dict]:
    for dtype in options.dtypes:
        if "denoiser" in options.only:
            yield from (denoiser_row(frames, dtype, options) for frames in options.frames)
            yield from (long_row(frames, dtype, options) for frames in options.long_frames)
        if "decode" in options.only:
            yield from (decode_row(size, dtype, options) for size in (128, 256))
    if "pose" in options.only:
        yield pose_row(options)


def denoiser_row(frames: int, dtype: str, options: argparse.Namespace) -> dict:
    case = (frames, 32, DTYPES[dtype], options.device)
    calls = {which: denoiser_call(which, *case) for which in ("plain", "ours")}
    row = {"what": "denoiser 32×32", "dtype": dtype, "frames": frames}
    row |= compare(calls | {"convolutions": convolution_call(*case)}, options)
    row["products_s"] = row["convolutions_s"] * products_to_convolutions()
    return row | {
        f"{which}_bytes": peak_bytes("denoiser", which, frames, 32, dtype, options.device) for which in calls
    }


def long_row(frames: int, dtype: str, options: argparse.Namespace) -> dict:
    """A clip that is too long for the plain computation, beside as many frames in clips of SHORT."""
    case, clips = (32, DTYPES[dtype], options.device), max(1, frames // SHORT)
    short = denoiser_call("ours", SHORT, *case)
    calls = {
        "ours": denoiser_call("ours", frames, *case),
        "short": lambda: [short() for _ in range(clips)],
    }
    row = {"what": "denoiser 32×32", "dtype": dtype, "frames": frames, **compare(calls, options)}
    row["short_s"] *= frames / (clips * SHORT)
    return row | {"ours_bytes": peak_bytes("denoiser", "ours", frames, 32, dtype, options.device)}


def decode_row(size: int, dtype: str, options: argparse.Namespace) -> dict:
    row = {"what": f"decode {size} px", "dtype": dtype, "frames": RENDER_FRAMES}
    calls = {which: render_call(which, size, DTYPES[dtype], options.device) for which in ("plain", "ours")}
    row |= compare(calls, options)
    for which in calls:
        row[f"{which}_bytes"] = peak_bytes("render", which, RENDER_FRAMES, size, dtype, options.device)
    return row


def pose_row(options: argparse.Namespace) -> dict:
    """Only this code: the plain computation's scores of all frames with all frames would be 3.6 GB a layer."""
    taken = compare({"ours": pose_blink_call(TEN_MINUTES, options.device)}, options)
    peak = peak_bytes("pose", "ours", TEN_MINUTES, 0, "fp32", options.device)
    row = {"what": "pose and blink", "dtype": "fp32", "frames": TEN_MINUTES}
    return row | taken | {"ours_bytes": peak}


if __name__ == "__main__":
    with torch.inference_mode():
        main()
