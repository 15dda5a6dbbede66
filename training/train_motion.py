"""Stage 5: the denoiser and the speech encoder learn how picture, speech, pose and blink move a face.

The exact flow and visibility of the renders are the clean latents; the network sees them under noise and
predicts them. Lips and lids move little and rarely, so their cells count more, and the *differences* of the
flow between neighbouring cells are compared as well: a turn of the head hardly enters those, the opening of
the lips does.

    python -m training.train_motion --minutes 18 --device cuda
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.box_encoder import box_mask
from dawn_model.compact_denoiser import departure_latents
from dawn_model.mel_encoder import COLUMNS_PER_FRAME
from dawn_model.schedule import cosine_schedule

from .dataset import Batch, ClipStore
from .initial import new_networks
from .paths import CLIPS, WORK
from .progress import Progress
from .scenario import CONTEXT
from .train_picture import CHECKPOINT as PICTURE
from .train_picture import load_autoencoder, sharpness

CHECKPOINT = WORK / "motion.pt"
_SOFT = 0.01
"""Errors below this (an eighth of a pixel) are judged by their square."""
_REGION_WEIGHT, _DIFFERENCE_WEIGHT, _HIDDEN_WEIGHT = 10.0, 4.0, 0.15
_PURE_NOISE, _FROM = 0.4, 600
"""Share of the samples that begin from noise alone, at a timestep of at least `_FROM`: that is how samplers
begin, whatever the number of steps."""
_UNGUIDED = 0.05


def condition_of(batch: Batch, audio_encoder: nn.Module) -> Tensor:
    """[B, K, features + 8]; the sound before and after the window is heard and cut away."""
    heard = audio_encoder(batch.mel)[:, CONTEXT:-CONTEXT]
    return torch.cat([heard, batch.steer], dim=-1)


def source_of(batch: Batch, autoencoder: nn.Module, box_encoder: nn.Module) -> Tensor:
    """What the denoiser sees of the portraits, [B, features + box, C, C]."""
    with torch.no_grad():
        features = autoencoder.encode(batch.source).deepest
    side = batch.source.shape[-1]
    mask = torch.cat([box_mask(box, side, side, side) for box in batch.box])
    return torch.cat([features, box_encoder(mask.to(features))], dim=1)


def noisy(clean: Tensor, alphas: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Clean latents [B, 3, K, C, C] → the same under noise, and the timesteps [B]."""
    clips = len(clean)
    timestep = torch.from_numpy(rng.integers(1, len(alphas), clips))
    signal = alphas[timestep].float()
    pure = torch.from_numpy(rng.random(clips) < _PURE_NOISE)
    timestep = torch.where(pure, torch.from_numpy(rng.integers(_FROM, len(alphas), clips)), timestep)
    signal = torch.where(pure, 0.0, signal).to(clean.device)[:, None, None, None, None]
    noise = torch.randn_like(clean)
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise, timestep.to(clean.device)


def soft_error(difference: Tensor) -> Tensor:
    return (difference.square() + _SOFT**2).sqrt() - _SOFT


def motion_loss(predicted: Tensor, clean: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """All latents [B, 3, K, C, C]. Returns the loss and its parts."""
    channels_first = [part.transpose(1, 2) for part in (batch.visible, batch.mouth, batch.eyes)]
    visible, mouth, eyes = channels_first  # [B, 1, K, C, C]
    region = mouth + eyes
    trust = _HIDDEN_WEIGHT + (1 - _HIDDEN_WEIGHT) * visible
    error = predicted - clean
    flow = (soft_error(error[:, :2]) * trust * (1 + _REGION_WEIGHT * region)).mean()
    seen = (soft_error(error[:, 2:]) * (1 + _REGION_WEIGHT * region)).mean()
    across, down = sharpness(error[:, :2])
    local = (region * trust)[..., 1:], (region * trust)[..., 1:, :]
    difference = (soft_error(across) * local[0]).mean() + (soft_error(down) * local[1]).mean()
    total = flow + 0.5 * seen + _DIFFERENCE_WEIGHT * _REGION_WEIGHT * difference
    return total, {"flow": flow, "visible": seen, "difference": difference}


def lip_opening(flow: Tensor, mouth: Tensor) -> Tensor:
    """How far the flow [B, 2, K, C, C] drives the lower from the upper lip, [B, K], for the log: the change
    of its y component down the mouth, weighted by the mouth's mask."""
    change = flow[:, 1, :, 1:] - flow[:, 1, :, :-1]
    weight = mouth[:, :, 0, 1:]
    return (change * weight).sum((-1, -2)) / weight.sum((-1, -2)).clamp(min=1e-6)


@torch.no_grad()
def validate(networks: nn.ModuleDict, autoencoder: nn.Module, store: ClipStore, flow_range: float) -> str:
    """One step from noise on unseen clips: correlation and range of lip opening, end-point errors in pixels
    of 128 against those of standing still."""
    rng, truth, found, errors = np.random.default_rng(0), [], [], []
    device = store.device
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    for _ in range(8):
        batch = store.batch(rng, 2, 24, augment=False)
        clean = departure_latents(batch.flow, batch.visible, flow_range).transpose(1, 2)
        source = source_of(batch, autoencoder, networks["box_encoder"])
        clip = networks["denoiser"].prepare(source, condition_of(batch, networks["audio_encoder"]))
        timestep = torch.full((2,), 952, device=device)
        predicted = networks["denoiser"](torch.randn_like(clean), timestep, clip)
        truth.append(lip_opening(clean, batch.mouth))
        found.append(lip_opening(predicted, batch.mouth))
        for motion in (predicted[:, :2] - clean[:, :2], clean[:, :2]):
            length = motion.norm(dim=1) * flow_range * 64 * batch.visible[:, :, 0]
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
    made = new_networks(options.seed)
    autoencoder = made["autoencoder"].to(options.device).requires_grad_(False)
    load_autoencoder(autoencoder, options.picture)
    networks = nn.ModuleDict({name: made[name] for name in ("denoiser", "audio_encoder", "box_encoder")})
    progress = Progress(
        networks.to(options.device), options.out, options.minutes, options.rate, options.steps
    )
    compact = made["denoiser"].config.compact
    alphas = cosine_schedule(made["denoiser"].config.train_timesteps).alphas_cumprod
    rng = np.random.default_rng([options.seed, progress.step])
    torch.manual_seed(options.seed + progress.step)
    print(
        f"{len(store)} clips of {store.clips[0]['mel'].shape[0] / COLUMNS_PER_FRAME / 25:.1f} s", flush=True
    )
    half = {"device_type": store.device.type, "dtype": torch.bfloat16, "enabled": options.bfloat16}
    while progress.unfinished:
        batch = store.batch(rng, options.batch, options.window, augment=not options.plain)
        clean = departure_latents(batch.flow, batch.visible, compact.flow_range).transpose(1, 2)
        x, timestep = noisy(clean, alphas, rng)
        with torch.autocast(**half):
            condition = condition_of(batch, networks["audio_encoder"])
            guided = torch.from_numpy(rng.random(len(condition)) >= _UNGUIDED).to(condition)
            source = source_of(batch, autoencoder, networks["box_encoder"])
            clip = networks["denoiser"].prepare(source, condition * guided[:, None, None])
            predicted = networks["denoiser"](x, timestep, clip)
        loss, parts = motion_loss(predicted.float(), clean, batch)
        progress.update(loss, **parts)
        progress.report(50)
        if progress.step % options.every == 0:
            progress.save()
            if held_out:
                print(
                    f"  validation {validate(progress.average, autoencoder, held_out, compact.flow_range)}",
                    flush=True,
                )
    progress.save()
    return progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=18)
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--window", type=int, default=12)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints and validations")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--plain", action="store_true", help="no augmentation, for overfitting trials")
    parser.add_argument("--limit", type=int, help="use only the first so many clips")
    parser.add_argument("--clips", type=Path, default=CLIPS)
    parser.add_argument("--validation", type=Path, help="folder of unseen clips")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
