"""How many bytes a stage needs beside the weights, and how it is sliced to fit what is free.

The numbers are upper estimates of measured peaks (`tests/unit/test_memory.py` holds them to that); should memory
run out all the same, `Plan.smaller` is the way on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .config import CompactConfig, DenoiserConfig, FlowAutoencoderConfig
from .denoiser.compact import FRAMES_AT_ONCE
from .layers.slices import CPU_BUDGET, GPU_BUDGET, Slices

CLIP_ACTIVATIONS = 6
"""Whole-clip activations of the base width that live at once in the denoiser: the skips (two in all), the
copy for the heads, a block's input, its hidden half and its output, less what is never whole at once."""

SLICE_TEMPORARIES = 4
"""Temporaries of a slice that live at once, in units of the widest."""

LATENT_COPIES = 6
"""Tensors of the latents' size that the sampler holds at once, its selection of the threshold included."""

WORKSPACE = 64 << 20
"""What libraries take for themselves: weights in another order, scratch."""

DECODER_ACTIVATIONS = 6
"""Picture-size activations of the base width that live at once in the flow autoencoder's decoder."""

COMPACT_ROWS, COMPACT_COPIES = 24, 8
"""Of the embedded model's denoiser: rows of its width per frame, and copies of the latents of the frames that are
composed at once."""

DECODER_FRAMES = {"cpu": 4}
GPU_DECODER_FRAMES = 32
"""Frames decoded at once where memory does not decide: enough to keep the device busy."""

PASTED_PLANES, PASTED_ROWS, KEPT_PLANES = 18, 12, 12
"""Of Paste Back on a device: planes of the part for each frame, planes of a frame on their way to it, and planes of the
part that all frames share."""

GPU_PASTED_FRAMES = 8
"""Frames pasted at once where memory does not decide: few, because each has a large part."""

FP32 = 4


@dataclass(frozen=True)
class Need:
    """Bytes of a stage by what they depend on.

    frames     of the clip
    fixed      needed however the clip is sliced: latents, conditions
    clip       activations of all frames, which may lie in the host's memory instead
    slice      temporaries of one frame
    widest     the widest of these, the unit of `Slices.budget`
    least      temporaries of the smallest portion, if that is more than one frame's
    preferred  frames at once where memory does not decide
    """

    frames: int
    fixed: int
    clip: int
    slice: int
    widest: int
    least: int
    preferred: int

    def bytes(self, frames: int, offloaded: bool = False) -> int:
        """On the device, with `frames` at once."""
        return self.fixed + (0 if offloaded else self.clip) + max(frames * self.slice, self.least)


@dataclass(frozen=True)
class Plan:
    """frames: how many at once, where they are largest; store: where whole-clip activations lie if not on
    the device; spare: where they may still go when memory runs out"""

    need: Need
    frames: int
    store: torch.device | None = None
    spare: torch.device | None = None

    @property
    def bytes(self) -> int:
        return self.need.bytes(self.frames, self.store is not None)

    @property
    def slices(self) -> Slices:
        return Slices(self.frames * self.need.widest, self.store)

    def smaller(self) -> Plan | None:
        """The next plan to try when memory ran out: half as many frames, down to one; then activations in the
        host's memory, frames counted anew; None after that."""
        if self.frames > 1:
            return replace(self, frames=self.frames // 2)
        most = min(self.need.preferred, self.need.frames)
        return replace(self, frames=most, store=self.spare, spare=None) if self.spare else None

    def __str__(self) -> str:
        where = (
            f", activations of the clip ({megabytes(self.need.clip)}) in host memory" if self.store else ""
        )
        return (
            f"{self.frames} of {self.need.frames} frames at a time, about {megabytes(self.bytes)} "
            f"beside the weights{where}"
        )


def choose_plan(need: Need, free: int, requested: int = 0, host_free: int | None = None) -> Plan:
    """The fastest plan that fits.

    free: bytes on the device; host_free: bytes beside it, None when the device computes in host memory
    requested: frames at once as the user wants them, 0 to choose

    As many frames at once as suit the device, halved until they fit; if one is too much, the activations of
    the whole clip go to the host's memory, and frames are counted anew.

    Raises ValueError with the numbers when nothing fits.
    """
    most = min(requested or need.preferred, need.frames)
    counts = [most] if requested else [most >> halvings for halvings in range(most.bit_length())]
    host = torch.device("cpu") if host_free is not None and 0 < need.clip <= host_free else None
    plans = [Plan(need, frames, spare=host) for frames in counts]
    if host:
        plans += [Plan(need, frames, store=host) for frames in counts]
    for plan in plans:
        if plan.bytes <= free:
            return plan
    least = plans[-1]
    wanted = f"{megabytes(least.bytes)} beside the weights, and {megabytes(free)} are free"
    if host_free is not None and host is None and need.clip:
        wanted += f", or {megabytes(need.clip)} of host memory, and {megabytes(host_free)} are free"
    fewer = f"fewer frames per slice (0 chooses; {requested} are set), " if requested > 1 else ""
    raise ValueError(
        f"{need.frames} frames need at least {wanted}, with {least.frames} frame(s) at a time. "
        f"Use {fewer}shorter audio, half precision or a smaller model, or close what else uses the memory"
    )


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def sampling_need(
    config: DenoiserConfig | CompactConfig,
    frames: int,
    height: int,
    width: int,
    item: int,
    device: torch.device,
) -> Need:
    """Of sampling motion latents of height × width with a denoiser that computes in `item` bytes a number."""
    if isinstance(config, CompactConfig):
        return _compact_need(config, frames, height, width)
    positions = height * width
    channels = 3 * config.heads * config.head_dim
    widest = channels * positions * item
    latents = 3 * positions * frames * FP32
    conditions = (2 * config.condition_dim + condition_numbers(config, item)) * frames * item
    source = (config.feature_channels + config.box_channels + config.base_width) * positions * item
    source += folded_numbers(config) * item
    budget = CPU_BUDGET if device.type == "cpu" else GPU_BUDGET
    return Need(
        frames=frames,
        fixed=LATENT_COPIES * latents + conditions + source + WORKSPACE,
        clip=CLIP_ACTIVATIONS * config.base_width * frames * positions * item,
        slice=SLICE_TEMPORARIES * widest,
        widest=widest,
        least=SLICE_TEMPORARIES
        * frames
        * channels
        * item,  # attention over time sees one pixel of all frames
        preferred=max(1, budget // widest),
    )


def _compact_need(config: CompactConfig, frames: int, height: int, width: int) -> Need:
    """The embedded model's denoiser keeps a row of numbers per frame beside the latents, in float32."""
    latents = 3 * height * width * FP32
    rows = COMPACT_ROWS * config.width * frames * FP32
    fields = 2 * config.fields * latents
    return Need(
        frames=frames,
        fixed=LATENT_COPIES * latents * frames
        + rows
        + fields
        + COMPACT_COPIES * FRAMES_AT_ONCE * latents
        + WORKSPACE,
        clip=0,
        slice=0,
        widest=latents,
        least=0,
        preferred=frames,
    )


def condition_numbers(config: DenoiserConfig, item: int) -> int:
    """Numbers per frame that `UNet3D.prepare` keeps for all steps: two per head, feature and condition, and the
    products of the values."""
    blocks = 4 * len(config.multipliers) + 2
    features = (2 * config.cross_heads + 1) * config.cross_head_dim
    products = FP32 // item * (1 + config.cross_heads) ** 2  # in float32 whatever the rest is in
    return blocks * 3 * (features + products)


def folded_numbers(config: DenoiserConfig) -> int:
    """Of the weights that `UNet3D.prepare` keeps in another arrangement, whatever the clip's length."""
    widths = [config.base_width * multiplier for multiplier in config.multipliers]
    ins = [config.base_width, *widths[:-1]]
    blocks = 2 * sum(ins) + 3 * sum(widths) + 2 * widths[-1]  # inputs of down, up and middle blocks
    queries = blocks * 3 * config.cross_heads * config.cross_head_dim
    outs = 2 * (sum(ins) + sum(widths) + widths[-1]) * 3 * (1 + config.cross_heads) * config.cross_head_dim
    return queries + outs + (sum(ins) + sum(widths)) * 4 * config.heads * config.head_dim


def rendering_need(
    config: FlowAutoencoderConfig, frames: int, size: int, item: int, device: torch.device
) -> Need:
    """Of decoding a clip into pictures of size × size pixels."""
    widest = config.width * size * size * item
    one = DECODER_ACTIVATIONS * widest
    return Need(
        frames=frames,
        fixed=WORKSPACE,
        clip=0,
        slice=one,
        widest=widest,
        least=one,
        preferred=DECODER_FRAMES.get(device.type, GPU_DECODER_FRAMES),
    )


def pasting_need(frames: int, part: tuple[int, int], side: int) -> Need:
    """Of pasting square frames with sides of `side` pixels into the part of that height and width, on a device."""
    plane = part[0] * part[1] * FP32
    one = PASTED_PLANES * plane + PASTED_ROWS * side * max(side, *part) * FP32
    return Need(
        frames=frames,
        fixed=KEPT_PLANES * plane + 3 * side * side * FP32 + WORKSPACE,
        clip=0,
        slice=one,
        widest=one,
        least=one,
        preferred=GPU_PASTED_FRAMES,
    )
