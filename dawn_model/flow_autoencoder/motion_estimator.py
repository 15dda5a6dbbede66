"""From two pictures of one person to the motion between them: what the flow autoencoder is trained with and
what turns a video into motion latents (arXiv 2410.13726, section 3.2; docs/model.md, "Flow autoencoder").
Generating a talking head does not need it.

Axes: B pairs (or F frames), K regions, S picture side, h = w = S / downscale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import MotionEstimatorConfig
from ..structures import MotionLatents
from .autoencoder import FlowAutoencoder
from .hourglass import Hourglass, NormDown, shrink
from .regions import Regions, carry
from .warping import coordinate_grid, warp


class RegionPredictor(nn.Module):
    """Finds the regions of one picture."""

    def __init__(self, config: MotionEstimatorConfig, operations=nn, **factory):
        super().__init__()
        self.downscale, self.temperature = config.downscale, config.temperature
        self.hourglass = Hourglass(
            3, config.region_width, config.blocks, config.max_width, operations, **factory
        )
        self.regions = operations.Conv2d(self.hourglass.outputs, config.regions, 7, padding=3, **factory)

    def forward(self, picture: Tensor) -> Regions:
        """RGB [B, 3, S, S] in 0..1."""
        logits = self.regions(self.hourglass(shrink(picture, self.downscale)))
        heatmap = F.softmax(logits.float().flatten(2) / self.temperature, dim=-1)
        return Regions.from_heatmap(heatmap.view_as(logits))


class BackgroundPredictor(nn.Module):
    """Finds how everything behind the person moved, as one affine map."""

    def __init__(self, config: MotionEstimatorConfig, operations=nn, **factory):
        super().__init__()
        widths = [min(config.max_width, config.background_width * 2**i) for i in range(config.blocks + 1)]
        self.down_blocks = nn.ModuleList(
            NormDown(6 if i == 0 else widths[i], widths[i + 1], operations, **factory)
            for i in range(config.blocks)
        )
        self.fc = operations.Linear(widths[-1], 6, **factory)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """RGB [B, 3, S, S] each → [B, 3, 3], homogeneous, from driving to source coordinates."""
        x = torch.cat([source, driving], dim=1)
        for down in self.down_blocks:
            x = down(x)
        rows = self.fc(x.mean(dim=(2, 3))).float().view(-1, 2, 3)
        return torch.cat([rows, rows.new_tensor([0, 0, 1]).expand(len(rows), 1, 3)], dim=1)


class FlowPredictor(nn.Module):
    """Chooses at every point which region moves it (or the background), and what the source cannot show."""

    def __init__(self, config: MotionEstimatorConfig, operations=nn, **factory):
        super().__init__()
        self.downscale = config.downscale
        candidates = config.regions + 1
        self.hourglass = Hourglass(
            candidates * 4, config.flow_width, config.blocks, config.max_width, operations, **factory
        )
        self.mask = operations.Conv2d(self.hourglass.outputs, candidates, 7, padding=3, **factory)
        self.occlusion = operations.Conv2d(self.hourglass.outputs, 1, 7, padding=3, **factory)

    def forward(
        self, picture: Tensor, source: Regions, driving: Regions, background: Tensor
    ) -> MotionLatents:
        """picture: the source, RGB [B, 3, S, S]; background [B, 3, 3]; all for the same B pairs."""
        small = shrink(picture, self.downscale)
        height, width = small.shape[-2:]
        heat = driving.gaussian(height, width) - source.gaussian(height, width)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)  # the background has none
        motions = candidate_motions(source, driving, background, height, width)
        deformed = _deform_by_each(small, motions)
        hints = torch.cat([heat[:, :, None].to(small), deformed], dim=2).flatten(
            1, 2
        )  # [B, (K + 1) · 4, h, w]
        features = self.hourglass(hints)
        mask = F.softmax(self.mask(features).float(), dim=1)
        flow = torch.einsum("bkhw,bkhwi->bhwi", mask, motions)
        return MotionLatents(flow, torch.sigmoid(self.occlusion(features).float()))


def candidate_motions(
    source: Regions, driving: Regions, background: Tensor, height: int, width: int
) -> Tensor:
    """Where each point of the driving picture would come from, if it moved with the background (first) or
    with a region. [B, K + 1, h, w, 2], absolute."""
    grid = coordinate_grid(height, width, like=driving.shift)
    behind = torch.einsum("bij,hwj->bhwi", background[:, :2, :2], grid) + background[:, None, None, :2, 2]
    offset = grid - driving.shift[:, :, None, None]
    regions = torch.einsum("bkij,bkhwj->bkhwi", carry(source, driving), offset)
    return torch.cat([behind[:, None], regions + source.shift[:, :, None, None]], dim=1)


def _deform_by_each(picture: Tensor, motions: Tensor) -> Tensor:
    """picture [B, 3, h, w], motions [B, K + 1, h, w, 2] → [B, K + 1, 3, h, w]."""
    pairs, candidates = motions.shape[:2]
    repeated = picture[:, None].expand(-1, candidates, -1, -1, -1).flatten(0, 1)
    return warp(repeated, motions.flatten(0, 1)).unflatten(0, (pairs, candidates))


class MotionEstimator(nn.Module):
    """The three predictors together."""

    def __init__(self, config: MotionEstimatorConfig, operations=nn, **factory):
        """`operations` supplies the layers; `factory` is their dtype and device."""
        super().__init__()
        self.region_predictor = RegionPredictor(config, operations, **factory)
        self.background_predictor = BackgroundPredictor(config, operations, **factory)
        self.flow_predictor = FlowPredictor(config, operations, **factory)

    def estimate(self, source: Tensor, driving: Tensor) -> MotionLatents:
        """How to move `source` so that it looks like every `driving` picture.

        Args:
            source:  RGB [1, 3, S, S] in 0..1, or one per driving picture
            driving: RGB [F, 3, S, S]
        """
        frames = len(driving)
        found = self.region_predictor(source)
        found = Regions(*(t.expand(frames, *t.shape[1:]) for t in (found.heatmap, found.shift, found.covar)))
        picture = source.expand(frames, -1, -1, -1)
        background = self.background_predictor(picture, driving)
        return self.flow_predictor(picture, found, self.region_predictor(driving), background)


def autoencode(
    autoencoder: FlowAutoencoder, estimator: MotionEstimator, source: Tensor, driving: Tensor
) -> tuple[Tensor, MotionLatents]:
    """Rebuild driving pictures from the source and the motion between them.

    Args:
        source:  RGB [1, 3, S, S] in 0..1
        driving: RGB [F, 3, S, S]

    Returns the rebuilt pictures [F, 3, S, S] and the motion latents they were made from.
    """
    motion = estimator.estimate(source, driving)
    return autoencoder.decode(autoencoder.encode(source), motion.flow, motion.occlusion), motion
