"""Everything that is to be known of a GPU, in one command, on a machine that has torch, einops, safetensors, Pillow
and this repository; ComfyUI and a network are not needed.

    python3 benchmarks/gpu.py                  # at most 8 minutes
    python3 benchmarks/gpu.py --quick          # about 100 seconds
    python3 benchmarks/gpu.py --only sizes --dtypes bf16 --frames 200 --pixels 256

Sections, in this order: `correct` compares with the golden tensors, in fp32, fp16 and bf16; `clip` makes 8 seconds of
video at 128 px; `profile` counts and times the kernels of a denoiser step; `paste` pastes frames into a 1920×1080
picture on the CPU and on the device; `sizes` compares a step with the plain computation, in time and in peak memory
beside weights and inputs. Weights are the made-up ones of the golden tensors. What time does not suffice for is left
out and named. Results go to benchmarks/results/gpu-<name>.json and .md after every row, and to the folder $OUT if that
is set.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import recipe  # noqa: E402
from golden_clip import STEPS, make_clip  # noqa: E402
from noise_portrait import noise_motion, noise_portrait  # noqa: E402
from plain_denoiser import plain_denoiser  # noqa: E402

from dawn_model.config import DenoiserConfig, FlowAutoencoderConfig  # noqa: E402
from dawn_model.denoiser.box_encoder import BoxEncoder  # noqa: E402
from dawn_model.denoiser.unet3d import UNet3D  # noqa: E402
from dawn_model.diffusion.noise import FrameNoise  # noqa: E402
from dawn_model.diffusion.sampler import latent_noise  # noqa: E402
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder  # noqa: E402
from dawn_model.flow_autoencoder.render import render_frames  # noqa: E402
from dawn_model.layers.slices import Slices  # noqa: E402
from dawn_model.memory import GPU_DECODER_FRAMES, GPU_PASTED_FRAMES  # noqa: E402
from dawn_model.official_keys import apply_table  # noqa: E402
from dawn_model.official_keys.denoiser import DENOISER_KEYS  # noqa: E402
from dawn_model.official_keys.flow_autoencoder import FLOW_AUTOENCODER  # noqa: E402
from dawn_model.official_keys.fusing import fuse  # noqa: E402
from dawn_model.paste_back.colour_match import ColourMatch  # noqa: E402
from dawn_model.paste_back.paste import PasteBack, PasteOptions, paste_back  # noqa: E402
from dawn_model.paste_back.placement import part_of  # noqa: E402
from dawn_model.pipeline import SamplingOptions, sample_motion  # noqa: E402
from dawn_model.structures import MotionLatents  # noqa: E402

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 1e-4, "fp16": 0.01, "bf16": 0.05}
"""Largest root mean square error against the golden tensors, relative to their deviation."""

SECTIONS = ["correct", "clip", "profile", "paste", "sizes"]
FULL_SECONDS, QUICK_SECONDS = 460, 90
LISTED = 20
"""Kernels and operations that a profile names, those that take longest."""

OUT_OF_MEMORY = "out of memory"


class Results:
    """Rows of every section, written after each, so that a run that is cut short leaves what it had."""

    def __init__(self, machine: dict, folders: list[Path]):
        self.machine, self.folders = machine, folders
        self.rows: dict[str, list[dict]] = {}
        self.left_out: list[str] = []
        self.failed: list[str] = []

    def add(self, section: str, row: dict) -> None:
        self.rows.setdefault(section, []).append(row)
        print(section, json.dumps({key: value for key, value in row.items() if key != "top"}), flush=True)
        self.write()

    def write(self) -> None:
        everything = {"machine": self.machine, **self.rows}
        everything |= {"left_out": self.left_out, "failed": self.failed}
        name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", self.machine["device"].lower()).strip("-")
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(everything, indent=1) + "\n")
            (folder / f"{name}.md").write_text(markdown(everything))


def markdown(results: dict) -> str:
    lines = [", ".join(f"{key} {value}" for key, value in results["machine"].items())]
    for section in SECTIONS:
        for row in (rows := results.get(section, [])):
            columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "top"]
            if row is rows[0]:
                lines += ["", f"## {section}", "", table(columns), table(["---"] * len(columns))]
            lines.append(table([shown(key, row.get(key)) for key in columns]))
        for row in rows:
            for kind, entries in row.get("top", {}).items():
                lines += ["", f"{row['frames']} frames, {row['pixels']} px: {kind} by time", ""]
                lines += [table(["name", "count", "ms"]), table(["---"] * 3)]
                lines += [table([name[:100], str(count), f"{ms:.2f}"]) for name, count, ms in entries]
    if results["left_out"]:
        lines += ["", "Left out for want of time: " + "; ".join(results["left_out"])]
    for failure in results["failed"]:
        lines += ["", "Failed:", "", "```", failure.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def table(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def shown(key: str, value: object) -> str:
    if isinstance(value, float) and key.endswith("_s"):
        return f"{value * 1e3:.2f} ms"
    if isinstance(value, int) and key.endswith("_bytes"):
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


@dataclass
class Bench:
    """The networks with the weights of the golden tensors, and how they are measured."""

    device: torch.device
    steps: int
    repeats: int
    end: float
    results: Results

    def __post_init__(self) -> None:
        self.official = {
            name: {
                key: recipe.weight(key, spec["shape"])
                for key, spec in recipe.manifest(name).items()
                if spec["recipe"] != "constructed"
            }
            for name in ("dawn_128", "lfg_128")
        }

    @property
    def on_gpu(self) -> bool:
        return self.device.type != "cpu"

    def time_left(self, what: str) -> bool:
        if time.monotonic() < self.end:
            return True
        self.results.left_out.append(what)
        self.results.write()
        return False

    def synchronise(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def denoiser(self, dtype: torch.dtype) -> UNet3D:
        with torch.device("meta"):
            unet = UNet3D(DenoiserConfig())
        state = {
            key.removeprefix("diffusion."): tensor
            for key, tensor in self.official["dawn_128"].items()
            if key.startswith("diffusion.")
        }
        unet.load_state_dict(apply_table(state, DENOISER_KEYS)[0], assign=True)
        return unet.to(self.device, dtype).eval()

    def plain(self, dtype: torch.dtype) -> dict[str, Tensor]:
        prefix = "diffusion.denoise_fn."
        return {
            key.removeprefix(prefix): tensor.to(self.device, dtype)
            for key, tensor in self.official["dawn_128"].items()
            if key.startswith(prefix)
        }

    def autoencoder(self, dtype: torch.dtype) -> FlowAutoencoder:
        autoencoder = FlowAutoencoder(FlowAutoencoderConfig())
        ours, origin, _ = apply_table(self.official["lfg_128"], FLOW_AUTOENCODER)
        autoencoder.load_state_dict(fuse(ours, origin))
        return autoencoder.to(self.device, dtype).eval()

    def networks(self, dtype: torch.dtype) -> dict[str, nn.Module]:
        box_encoder = BoxEncoder()
        box_encoder.load_state_dict(
            {
                key: recipe.weight(f"face_loc_emb.{key}", tensor.shape)
                for key, tensor in box_encoder.state_dict().items()
            }
        )
        return {
            "denoiser": self.denoiser(dtype),
            "autoencoder": self.autoencoder(dtype),
            "box_encoder": box_encoder.to(self.device, dtype),
        }

    def inputs(self, frames: int, pixels: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """x, timestep, source and condition of a clip."""
        draw, side = torch.Generator().manual_seed(1), pixels // 4
        shapes = (1, 3, frames, side, side), (1, 272, side, side), (1, frames, 1032)
        x, source, condition = (torch.randn(shape, generator=draw).to(self.device, dtype) for shape in shapes)
        return x, torch.tensor([500], device=self.device), source, condition

    def seconds(self, call: Callable[[], object]) -> tuple[float, float]:
        """Median seconds of a call until it has returned and until the device has done it, after one that warms
        the device."""
        call()
        returned, done = [], []
        for _ in range(self.repeats):
            self.synchronise()
            start = time.perf_counter()
            call()
            returned.append(time.perf_counter() - start)
            self.synchronise()
            done.append(time.perf_counter() - start)
        return statistics.median(returned), statistics.median(done)

    def peak_bytes(self, call: Callable[[], object]) -> int | None:
        """Of the device's memory, above what is allocated before the call."""
        if not self.on_gpu:
            return None
        torch.cuda.empty_cache()
        self.synchronise()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before


class Replayed:
    """A denoiser whose call is recorded as a CUDA graph once per clip and then replayed.

    The host's part of a step is then a copy of the inputs and one launch.
    """

    def __init__(self, denoiser: UNet3D):
        self.denoiser, self.config = denoiser, denoiser.config
        self.recorded: dict[int, tuple] = {}

    def prepare(self, *args, **kwargs):
        return self.denoiser.prepare(*args, **kwargs)

    def __call__(self, x: Tensor, timestep: Tensor, clip, slices: Slices) -> Tensor:
        if id(clip) not in self.recorded:
            self.recorded[id(clip)] = (*self._record(x.clone(), timestep.clone(), clip, slices), clip)
        graph, own_x, own_timestep, output, _ = self.recorded[id(clip)]
        own_x.copy_(x)
        own_timestep.copy_(timestep)
        graph.replay()
        return output.clone()

    def _record(self, x: Tensor, timestep: Tensor, clip, slices: Slices) -> tuple:
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):  # libraries choose their kernels before the recording
            self.denoiser(x, timestep, clip, slices)
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.denoiser(x, timestep, clip, slices)
        return graph, x, timestep, output


def error(measured: Tensor, exact: Tensor) -> float:
    return float((measured.cpu().float() - exact).square().mean().sqrt() / exact.std())


def correct(bench: Bench, options: argparse.Namespace) -> Iterator[dict]:
    """Root mean square errors relative to the golden tensors' deviation; fp32 without TF32."""
    golden = {
        name: load_file(recipe.GOLDEN / f"{name}.safetensors")
        for name in ["unet", *(f"e2e{size}" for size in options.golden_sizes)]
    }
    calls = [call for call in GOLDEN_CALLS if call[1] <= options.golden_frames]
    for name, dtype in DTYPES.items():
        if name not in options.golden_dtypes:
            continue
        if not bench.time_left(f"correct {name}"):
            continue
        networks = bench.networks(dtype)
        for case, frames, side, timestep in calls:
            output = golden_call(bench, networks["denoiser"], case, frames, side, timestep, dtype)
            reference = golden["unet"][f"{case}.out.t{timestep}.cs1.0"]
            yield verdict(f"denoiser {case} t{timestep}", name, output, reference)
        for size in options.golden_sizes:
            reference = golden[f"e2e{size}"]
            latents, frames = make_clip(networks, reference, size, bench.device, dtype)
            flow = reference["sample_vid_grid"][0].permute(1, 2, 3, 0)
            yield verdict(f"{size} px, flow after {STEPS[size]} steps", name, latents.flow, flow)
            pictures, middle = frames.movedim(-1, 0), "sample_out_vid[:, :, 1]"
            exact = reference["sample_out_vid"][0] if "sample_out_vid" in reference else reference[middle][0]
            pictures = pictures if "sample_out_vid" in reference else pictures[:, 1]
            yield verdict(f"{size} px, frames", name, pictures, exact.clamp(0, 1))


GOLDEN_CALLS = [
    ("f3_s8", 3, 8, 500),
    ("f4_s32", 4, 32, 952),
    ("f50_s8", 50, 8, 952),
    ("f100_s8", 100, 8, 952),
]
"""Case, frames, side of the latents, timestep."""


def golden_call(
    bench: Bench, unet: UNet3D, case: str, frames: int, side: int, timestep: int, dtype: torch.dtype
) -> Tensor:
    x = recipe.normal(f"input.unet.{case}.x", 1, 3, frames, side, side)
    feature = recipe.normal(f"input.unet.{case}.fea", 1, 256, side, side)
    source = torch.cat([feature, recipe.normal(f"input.unet.{case}.mask", 1, 16, side, side)], dim=1)
    condition = recipe.normal(f"input.unet.{case}.cond", 1, frames, 1032)
    x, source, condition = (tensor.to(bench.device, dtype) for tensor in (x, source, condition))
    clip = unet.prepare(source, condition)
    return unet(x, torch.tensor([timestep], device=bench.device), clip, Slices.for_device(bench.device))


def verdict(what: str, dtype: str, measured: Tensor, exact: Tensor) -> dict:
    relative = error(measured, exact)
    largest = float((measured.cpu().float() - exact).abs().max())
    return {
        "what": what,
        "dtype": dtype,
        "error": relative,
        "largest": largest,
        "within": relative <= TOLERANCE[dtype],
    }


def clip(bench: Bench, options: argparse.Namespace) -> Iterator[dict]:
    """Sampling and rendering of `clip_frames` frames at 128 px, without and with CUDA graphs."""
    denoiser = bench.denoiser(DTYPES[options.dtypes[0]])
    autoencoder = bench.autoencoder(DTYPES[options.dtypes[0]])
    for name, network in {"eager": denoiser, "graph": Replayed(denoiser)}.items():
        if (bench.on_gpu or name == "eager") and bench.time_left(f"clip {name}"):
            yield {"denoiser": name, **clip_row(bench, options, network, autoencoder)}


def clip_row(
    bench: Bench, options: argparse.Namespace, network: UNet3D | Replayed, autoencoder: FlowAutoencoder
) -> dict:
    """A clip, after one of two steps that warms the device. A graph is recorded anew, as for any clip."""
    frames, dtype = options.clip_frames, DTYPES[options.dtypes[0]]
    picture = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)).to(bench.device)
    _, _, source, condition = bench.inputs(frames, 128, dtype)
    features = autoencoder.encode(picture, dtype)
    draw = latent_noise(
        FrameNoise(1, "motion"), frames, 32, 32, torch.empty(0, device=bench.device), bench.steps
    )
    drawing = []

    def noise(number: int) -> Tensor:
        start = time.perf_counter()
        drawn = draw(number)
        drawing.append(time.perf_counter() - start)
        return drawn

    def sample(steps: int) -> MotionLatents:
        return sample_motion(network, source, condition[0], noise, SamplingOptions(steps))

    def render(latents: MotionLatents) -> Tensor:
        return render_frames(autoencoder, features, latents, GPU_DECODER_FRAMES if bench.on_gpu else 4)

    peak = bench.peak_bytes(lambda: render(sample(2)))
    render(sample(2))
    drawing.clear()
    bench.synchronise()
    start = time.perf_counter()
    latents = sample(bench.steps)
    bench.synchronise()
    sampled = time.perf_counter()
    render(latents)
    bench.synchronise()
    done = time.perf_counter()
    row = {"dtype": options.dtypes[0], "frames": frames, "steps": bench.steps}
    row |= {"sample_s": sampled - start, "of_it_noise_s": sum(drawing), "render_s": done - sampled}
    return row | {"total_s": done - start, "peak_bytes": peak}


def profiled(bench: Bench, options: argparse.Namespace) -> Iterator[dict]:
    """Kernels of one denoiser step: how many, how long, and whether the host waits for the device."""
    dtype = DTYPES[options.dtypes[0]]
    unet, slices = bench.denoiser(dtype), Slices.for_device(bench.device)
    for frames, pixels in options.profiles:
        if not bench.time_left(f"profile {frames} frames {pixels} px"):
            continue
        x, timestep, source, condition = bench.inputs(frames, pixels, dtype)
        prepared = unet.prepare(source, condition)
        unet(x, timestep, prepared, slices)
        bench.synchronise()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]
        with profile(activities=activities) as profiler:
            unet(x, timestep, prepared, slices)
            bench.synchronise()
        yield {"frames": frames, "pixels": pixels, "dtype": options.dtypes[0], **kernels(profiler)}


def kernels(profiler: profile) -> dict:
    device, host = Counter(), Counter()
    times = {"kernels": Counter(), "operations": Counter()}
    for event in profiler.events():
        if event.device_type == DeviceType.CPU:
            host[event.name] += 1
            times["operations"][event.name] += event.self_device_time_total or event.self_cpu_time_total
        else:
            device[event.name] += 1
            times["kernels"][event.name] += event.time_range.elapsed_us()
    waits = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
    return {
        "kernels": sum(count for name, count in device.items() if not name.startswith("Mem")),
        "kernels_s": times["kernels"].total() / 1e6,
        "operations": sum(count for name, count in host.items() if name.startswith("aten::")),
        "waits": sum(host[name] for name in waits),
        "copies": sum(count for name, count in device.items() if name.startswith("Memcpy")),
        "top": {
            kind: [(name, (device + host)[name], us / 1e3) for name, us in of_kind.most_common(LISTED)]
            for kind, of_kind in times.items()
        },
    }


def pasted(bench: Bench, options: argparse.Namespace) -> Iterator[dict]:
    """Seconds for a frame of 128 px pasted into 1920×1080 pixels, the result in the computer's own memory. What
    dawn_model/paste_back/device_speed.py decides rests on these."""
    size, frames = (1080, 1920), options.paste_frames
    for angle in (0.0, 0.4):
        if not bench.time_left(f"paste {angle}"):
            continue
        portrait, motion = noise_portrait(*size, 120, angle), noise_motion(frames, 32)
        images, results = torch.rand(frames, 128, 128, 3), {}
        row = {"angle": angle, "frames": frames, "threads": torch.get_num_threads()}
        devices = {"cpu": torch.device("cpu")} | ({"device": bench.device} if bench.on_gpu else {})
        for name, device in devices.items():
            paster = PasteBack(portrait, 128, size, PasteOptions(), motion=motion, device=device)
            results[name] = out = torch.zeros(frames, *size, 3)
            at_once = 1 if device.type == "cpu" else GPU_PASTED_FRAMES
            paste = partial(paste_back, paster, images, ColourMatch.none(), out=out, at_once=at_once)
            row[f"{name}_s"] = bench.seconds(paste)[1] / frames
        if bench.on_gpu:
            row["apart_255"] = 255 * float((results["cpu"] - results["device"]).abs().max())
        # Of a frame the device computes and sends this part alone.
        rows, columns = part_of(portrait.crop, *size)
        yield row | {"part_pixels": (rows.stop - rows.start) * (columns.stop - columns.start)}


def sizes(bench: Bench, options: argparse.Namespace) -> Iterator[dict]:
    """One denoiser step: the plain computation, this code, and this code as a CUDA graph, whose memory includes the
    recording."""
    for name in options.dtypes:
        unet, plain = bench.denoiser(DTYPES[name]), bench.plain(DTYPES[name])
        for pixels in options.pixels:
            for frames in options.frames:
                if bench.time_left(f"sizes {name} {frames} frames {pixels} px"):
                    row = size_row(bench, unet, plain, frames, pixels)
                    yield {"frames": frames, "pixels": pixels, "dtype": name, **row}


def size_row(bench: Bench, unet: UNet3D, plain: dict[str, Tensor], frames: int, pixels: int) -> dict:
    x, timestep, source, condition = bench.inputs(frames, pixels, plain["init_conv.weight"].dtype)
    prepared, slices, replayed = (
        unet.prepare(source, condition),
        Slices.for_device(bench.device),
        Replayed(unet),
    )
    row = measured(bench, "plain", lambda: plain_denoiser(plain, x, timestep, source, condition))
    row |= measured(bench, "ours", lambda: unet(x, timestep, prepared, slices))
    if bench.on_gpu:
        row |= measured(bench, "graph", lambda: replayed(x, timestep, prepared, slices))
    if isinstance(row["plain_s"], float) and isinstance(row["ours_s"], float):
        row["ratio"] = row["plain_s"] / row["ours_s"]
    return row


def measured(bench: Bench, which: str, call: Callable[[], object]) -> dict:
    try:
        row = {f"{which}_bytes": bench.peak_bytes(call)}
        enqueued, done = bench.seconds(call)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {f"{which}_s": OUT_OF_MEMORY}
    except RuntimeError as failure:  # the other ways, sizes and types are still worth having
        bench.results.failed.append(f"{which}: {failure}")
        return {f"{which}_s": "failed"}
    return row | {f"{which}_s": done} | ({"enqueue_s": enqueued} if which == "ours" else {})


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help=f"few sizes, {QUICK_SECONDS} seconds")
    parser.add_argument("--seconds", type=float, help="begin nothing after so many seconds")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES)
    parser.add_argument("--frames", type=int, nargs="+")
    parser.add_argument("--pixels", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clip-frames", type=int, default=200)
    parser.add_argument("--golden-sizes", type=int, nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--golden-dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--golden-frames", type=int, default=100, help="longest golden denoiser call")
    parser.add_argument("--profiles", nargs="+", default=["50x128", "200x128", "200x256"])
    parser.add_argument("--paste-frames", type=int, default=48)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(given)
    options.profiles = [tuple(map(int, profile.split("x"))) for profile in options.profiles]
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else FULL_SECONDS)
    options.dtypes = options.dtypes or (["fp16"] if options.quick else ["fp16", "bf16", "fp32"])
    options.frames = options.frames or ([50, 200] if options.quick else [50, 200, 400, 1500])
    return options


def main(given: list[str] | None = None) -> bool:
    """Run the sections; returns whether one failed."""
    options, start = arguments(given), time.monotonic()
    # fp32 means fp32: a step with TF32 is another precision, whose error is that of bf16's mantissa plus three bits.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device(options.device)
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    machine = {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    folders = [options.results, *([Path(os.environ["OUT"])] if os.environ.get("OUT") else [])]
    results = Results(machine, folders)
    bench = Bench(device, options.steps, options.repeats, start + options.seconds, results)
    sections = {"correct": correct, "clip": clip, "profile": profiled, "paste": pasted, "sizes": sizes}
    for section in options.only:
        try:
            for row in sections[section](bench, options):
                results.add(section, row)
        except RuntimeError:  # of the device or a library: what the other sections find is still worth having
            results.failed.append(f"{section}: {traceback.format_exc(limit=-4)}")
        results.machine[f"{section}_done_s"] = round(time.monotonic() - start, 1)
    results.write()
    for failure in results.failed:
        print(failure, file=sys.stderr)
    return bool(results.failed)


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
