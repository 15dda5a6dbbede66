"""Stage 4: the flow autoencoder learns to paint what a moved portrait does not show.

The exact flow is known, so it is trained by reconstruction alone: the source is warped by the true flow, and
what was hidden (mouth interior, lids, background behind the head) must be painted. The true motion is
disturbed a little, as the denoiser's will be.

    python -m training.stages.train_picture --steps 3000
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_model.denoiser.compact import still_grid
from dawn_model.flow_autoencoder.autoencoder import FlowAutoencoder, SourceFeatures

from ..clips.dataset import Batch, ClipStore
from ..paths import CLIPS, WORK
from .initial import begin_from, new_networks
from .progress import Progress, options_of

CHECKPOINT = WORK / "picture.pt"
_HIDDEN_WEIGHT, _REGION_WEIGHT = 6.0, 3.0


def disturbed(flow: Tensor, visible: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Smooth errors of about a third of a pixel in the flow [N, 2, C, C] and a blurred visibility [N, 1, C, C]."""
    coarse = torch.from_numpy(rng.normal(0, 1, (len(flow), 2, 8, 8)).astype(np.float32)).to(flow)
    flow = flow + rng.uniform(0, 0.004) * F.interpolate(
        coarse, size=flow.shape[-2:], mode="bicubic", align_corners=False
    )
    if rng.random() < 0.5:
        visible = F.avg_pool2d(visible, 3, 1, 1, count_include_pad=False)
    return flow, (visible * rng.uniform(0.9, 1)).clamp(0, 1)


def repeat(part, times: int):
    """Each clip's entry `times` times, for a tensor [B, …] or a tuple of them."""
    if isinstance(part, tuple):
        return tuple(repeat(each, times) for each in part)
    return part.repeat_interleave(times, 0)


def sharpness(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, along x and y."""
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def picture_loss(autoencoder: FlowAutoencoder, batch: Batch, rng: np.random.Generator) -> Tensor:
    """Absolute error of colours and of their differences; hidden parts, mouth and eyes count more."""
    flow, visible = disturbed(batch.flow.flatten(0, 1), batch.visible.flatten(0, 1), rng)
    window = batch.flow.shape[1]
    encoded = autoencoder.encode(batch.source)
    features = SourceFeatures(*(repeat(part, window) for part in (encoded.picture, encoded.features)))
    grid = still_grid(*flow.shape[-2:], flow) + 2 * flow.movedim(1, -1)
    made, true = autoencoder.decode(features, grid, visible), batch.frames.flatten(0, 1)
    regions = torch.maximum(batch.mouth, batch.eyes).flatten(0, 1)
    weight = 1 + _HIDDEN_WEIGHT * (1 - batch.visible.flatten(0, 1)) + _REGION_WEIGHT * regions
    weight = F.interpolate(weight, size=true.shape[-2:], mode="bilinear", align_corners=False)
    loss = ((made - true).abs() * weight).mean()
    for ours, theirs, cut in zip(
        sharpness(made), sharpness(true), (weight[..., 1:], weight[..., 1:, :]), strict=True
    ):
        loss = loss + 0.5 * ((ours - theirs).abs() * cut).mean()
    return loss


def train(options: argparse.Namespace) -> Progress:
    store = ClipStore(options.clips, options.device, options.limit)
    autoencoder = begin_from(options.start, new_networks(options.seed))["autoencoder"].to(options.device)
    progress = Progress(nn.ModuleDict({"autoencoder": autoencoder}), options.out, options.rate, options.steps)
    rng = np.random.default_rng([options.seed, progress.step])
    print(f"{len(store)} clips", flush=True)
    half = {"device_type": store.device.type, "dtype": torch.bfloat16, "enabled": options.bfloat16}

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        batch = store.batch(rng, options.batch, options.window, motion=False)
        with torch.autocast(**half):
            return picture_loss(autoencoder, batch, rng), {}

    progress.run(step)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 3000, 6, 2e-3, CLIPS)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--window", type=int, default=2)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
