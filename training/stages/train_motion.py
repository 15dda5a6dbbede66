"""Stage 5: the denoiser learns how mouth, pose, blink and expression move the face of a portrait.

The exact flow and visibility of the renders are the clean latents; the network sees them under noise and
predicts them. Lips and lids move little and rarely, so their cells count more, and the *differences* of the
flow between neighbouring cells are compared as well: a turn of the head hardly enters those, the opening of
the lips does.

    python -m training.stages.train_motion --steps 5000 --validation .dawn/training/validation
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.audio.articulation import CLASS_SHARES
from dawn_model.denoiser.compact import departure_latents
from dawn_model.diffusion.schedule import cosine_schedule

from ..clips.dataset import Batch, ClipStore
from ..paths import CLIPS, WORK
from .initial import begin_from, new_networks
from .progress import Progress, options_of
from .train_picture import sharpness

CHECKPOINT = WORK / "motion.pt"
_UNIT = 0.2
"""Sides of the picture; flow errors are judged in it."""
_SOFT, _SOFT_REGION, _SOFT_SHAPE = 0.01, 0.1, 0.15
"""Errors below this are judged by their square (0.01 is a quarter of a pixel of 128): of everything, in mouth and
eyes, and of differences between neighbours there. Judged by its size, what is uncertain would rather not happen: lids
and lips stay as they are, and nothing is ever hidden."""
_HIDDEN_WEIGHT = 0.15
_BLINKING, _SHUT_LIDS = 6.0, 0.25
"""How much more frames count in which the lids are where the source does not have them, and by how much the
eye-aspect ratio falls then. They are rare."""
_SHUT_LIPS = 4.0
"""How much more frames count in which the lips meet: the eye forgives a vowel, not a *b*."""
_WEIGHTS = {
    "flow": 2.0,
    "visible": 1.0,
    "mouth": 4.0,
    "mouth_seen": 1.0,
    "mouth_shape": 30.0,
    "eyes": 4.0,
    "eyes_seen": 0.5,
    "eyes_shape": 30.0,
}
_PURE_NOISE, _FROM = 0.4, 600
"""Share of the samples that begin from noise alone, at a timestep of at least `_FROM`: that is how samplers
begin, whatever the number of steps."""
_STILL, _NOISELESS = 0.05, 0.1
"""Share of the samples in which nothing is wanted and nothing moves, and of those without noise: what `mouth` and
`expression` of 0 ask for."""


def noisy(clean: Tensor, alphas: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Clean latents [B, 3, K, C, C] → the same under noise, and the timesteps [B]."""
    clips = len(clean)
    timestep = torch.from_numpy(rng.integers(1, len(alphas), clips))
    signal = alphas[timestep].float()
    pure = torch.from_numpy(rng.random(clips) < _PURE_NOISE)
    timestep = torch.where(pure, torch.from_numpy(rng.integers(_FROM, len(alphas), clips)), timestep)
    signal = torch.where(pure, 0.0, signal).to(clean.device)[:, None, None, None, None]
    loud = torch.from_numpy(rng.random(clips) >= _NOISELESS).to(signal)[:, None, None, None, None]
    return signal.sqrt() * clean + loud * (1 - signal).sqrt() * torch.randn_like(clean), timestep.to(
        clean.device
    )


def with_stillness(batch: Batch, rng: np.random.Generator) -> Batch:
    """Some samples turned into a portrait of which nothing is wanted."""
    moving = torch.from_numpy(rng.random(len(batch.flow)) >= _STILL).to(batch.flow)
    per_cell = moving[:, None, None, None, None]
    return dataclasses.replace(
        batch,
        flow=batch.flow * per_cell,
        visible=1 - (1 - batch.visible) * per_cell,
        condition=batch.condition * moving[:, None, None],
        expression=batch.expression * moving[:, None, None],
    )


def soft_error(difference: Tensor, soft: float = _SOFT) -> Tensor:
    return (difference.square() + soft**2).sqrt() - soft


def motion_loss(
    predicted: Tensor, clean: Tensor, batch: Batch, flow_range: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """All latents [B, 3, K, C, C]. Returns the loss and its parts.

    Mouth and eyes have terms of their own, each the mean over its region, so that they count whatever share of
    the picture they take.
    """
    visible, mouth, eyes = (part.transpose(1, 2) for part in (batch.visible, batch.mouth, batch.eyes))
    trust = _HIDDEN_WEIGHT + (1 - _HIDDEN_WEIGHT) * visible
    error = predicted - clean
    moved = error[:, :2] * (flow_range / 2 / _UNIT)
    everywhere = soft_error(moved).mean(1, keepdim=True)
    off = soft_error(moved, _SOFT_REGION).mean(1, keepdim=True)
    unseen = error[:, 2:].square() / 4
    across, down = (soft_error(part, _SOFT_SHAPE).mean(1, keepdim=True) for part in sharpness(moved))
    parts = {"flow": (everywhere * trust).mean(), "visible": unseen.mean()}
    blinking = _BLINKING * batch.condition[..., -2:].abs().amax(-1) / _SHUT_LIDS
    eyes = eyes * (1 + blinking)[:, None, :, None, None]
    shut = (2 * batch.condition[..., CLASS_SHARES.start]).clamp(0, 1)
    mouth = mouth * (1 + _SHUT_LIPS * shut)[:, None, :, None, None]
    for name, mask in (("mouth", mouth), ("eyes", eyes)):
        weight = mask * trust
        parts[name] = (off * weight).sum() / mask.sum()
        parts[name + "_seen"] = (unseen * mask).sum() / mask.sum()
        parts[name + "_shape"] = (
            (across * weight[..., 1:]).sum() + (down * weight[..., 1:, :]).sum()
        ) / mask.sum()
    total = sum(_WEIGHTS[name] * part for name, part in parts.items())
    return total, {
        name: parts[name] for name in ("flow", "visible", "mouth", "eyes", "mouth_shape", "eyes_shape")
    }


def lip_opening(flow: Tensor, mouth: Tensor) -> Tensor:
    """How far the flow [B, 2, K, C, C] drives the lower from the upper lip, [B, K], for the log: the change
    of its y component down the mouth, weighted by the mouth's mask."""
    change = flow[:, 1, :, 1:] - flow[:, 1, :, :-1]
    weight = mouth[:, :, 0, 1:]
    return (change * weight).sum((-1, -2)) / weight.sum((-1, -2)).clamp(min=1e-6)


@torch.no_grad()
def validate(networks: nn.ModuleDict, store: ClipStore, flow_range: float) -> str:
    """One step from noise on unseen clips: correlation and range of lip opening, and end-point errors in pixels of 128
    against those of standing still."""
    rng, truth, found, errors = np.random.default_rng(0), [], [], []
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    pixels = flow_range * 64
    for _ in range(8):
        batch = store.batch(rng, 2, 24, augment=False)
        clean = departure_latents(batch.flow, batch.visible, flow_range).transpose(1, 2)
        clip = networks["denoiser"].prepare(batch.code, batch.condition, expression=batch.expression)
        timestep = torch.full((2,), 952, device=store.device)
        predicted = networks["denoiser"](torch.randn_like(clean), timestep, clip)
        truth.append(lip_opening(clean, batch.mouth))
        found.append(lip_opening(predicted, batch.mouth))
        for motion in (predicted[:, :2] - clean[:, :2], clean[:, :2]):
            length = motion.norm(dim=1) * pixels * batch.visible[:, :, 0]
            errors += [
                (length * mask).sum() / mask.sum()
                for mask in (torch.ones_like(length), batch.mouth[:, :, 0], batch.eyes[:, :, 0])
            ]
    torch.set_rng_state(torch_state)
    truth, found = torch.cat(truth), torch.cat(found)
    moved = truth.std(1) > 0.3 * truth.std(1).mean()
    pairs = torch.stack([truth[moved], found[moved]]) - torch.stack([truth[moved], found[moved]]).mean(
        -1, keepdim=True
    )
    correlation = (pairs[0] * pairs[1]).sum(-1) / pairs.norm(dim=-1).prod(0).clamp(min=1e-9)
    reach = found[moved].std(1).mean() / truth[moved].std(1).mean()
    ours, still = torch.stack(errors).reshape(-1, 2, 3).mean(0).tolist()
    text = f"lips r={float(correlation.mean()):.3f} range={float(reach):.2f}"
    for name, error, baseline in zip(("all", "mouth", "eyes"), ours, still, strict=True):
        text += f" {name}={error:.3f}/{baseline:.3f}px"
    return text


def train(options: argparse.Namespace) -> Progress:
    store = ClipStore(options.clips, options.device, options.limit)
    held_out = ClipStore(options.validation, options.device) if options.validation else None
    made = begin_from(options.start, new_networks(options.seed))
    denoiser = made["denoiser"].to(options.device)
    progress = Progress(nn.ModuleDict({"denoiser": denoiser}), options.out, options.rate, options.steps)
    config = denoiser.config
    alphas = cosine_schedule(config.train_timesteps).alphas_cumprod
    rng = np.random.default_rng([options.seed, progress.step])
    torch.manual_seed(options.seed + progress.step)
    print(f"{len(store)} clips of {len(store.clips[0]['mouth']) / 25:.1f} s", flush=True)
    half = {"device_type": store.device.type, "dtype": torch.bfloat16, "enabled": options.bfloat16}

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        batch = store.batch(rng, options.batch, options.window, augment=not options.plain)
        batch = with_stillness(batch, rng)
        clean = departure_latents(batch.flow, batch.visible, config.flow_range).transpose(1, 2)
        x, timestep = noisy(clean, alphas, rng)
        with torch.autocast(**half):
            clip = denoiser.prepare(batch.code, batch.condition, expression=batch.expression)
            predicted = denoiser(x, timestep, clip)
        return motion_loss(predicted.float(), clean, batch, config.flow_range)

    def check() -> None:
        if held_out:
            print(f"  validation {validate(progress.average, held_out, config.flow_range)}", flush=True)

    progress.run(step, options.every, check)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 5000, 4, 2e-3, CLIPS)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--window", type=int, default=24)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints and validations")
    parser.add_argument("--plain", action="store_true", help="no augmentation, for overfitting trials")
    parser.add_argument("--validation", type=Path, help="folder of unseen clips")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
