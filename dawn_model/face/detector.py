"""Finds faces: boxes, scores and the two eyes, by the short-range detector of MediaPipe.

The network sees 128×128 pixels and finds faces from about an eighth of that. Smaller ones are found by
searching overlapping square tiles. Every search happens on a copy with sides of about `WORKING_SIDE`
pixels at most, so its cost does not grow with the picture.

Source: MediaPipe face detection (short range), https://github.com/google-ai-edge/mediapipe, Apache-2.0:
anchors, decoding and weighted non-maximum suppression as its model card and graph describe them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .square import Region, sample, shrink
from .tflite_graph import TfliteGraph

INPUT = 128
WORKING_SIDE = 1024
_MIN_TILE = 16
_MAX_TILES = 128
_BATCH = 16
_SAME_FACE = 0.3


@dataclass(frozen=True)
class Detection:
    """box [4]: x_min, y_min, x_max, y_max; eyes [2, 2]: the subject's right and left; in pixels."""

    score: float
    box: Tensor
    eyes: Tensor

    def region(self) -> Region:
        """The square the mesh network wants to see: half as large again, eyes level."""
        across = self.eyes[1] - self.eyes[0]
        x, y = ((self.box[:2] + self.box[2:]) / 2).tolist()
        side = float(self.box[2] - self.box[0]) * 1.5
        return Region(x, y, side, math.atan2(float(across[1]), float(across[0])))


def anchors() -> Tensor:
    """[896, 2]: x, y of the anchor centres in 0..1: a 16×16 grid with two each, an 8×8 grid with six."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        ticks = (torch.arange(cells) + 0.5) / cells
        grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).reshape(-1, 1, 2)
        grids.append(grid.expand(-1, repeats, 2).reshape(-1, 2))
    return torch.cat(grids)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Shared area of boxes a [..., 4] and b [..., 4]."""
    return (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )


def area(box: Tensor) -> Tensor:
    return (box[..., 2:] - box[..., :2]).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Shared area over joint area, in 0..1."""
    shared = overlap(a, b)
    return shared / (area(a) + area(b) - shared).clamp(min=1e-9)


def _merge(rows: Tensor, scores: Tensor) -> list[tuple[float, Tensor]]:
    """Weighted non-maximum suppression: overlapping answers are averaged by score, not thrown away.

    rows [N, 8]: box, then the two eyes; scores [N]. → (best score, averaged row) per face, best first.
    """
    order = scores.argsort(descending=True)
    rows, scores = rows[order], scores[order]
    merged = []
    while len(rows):
        together = iou(rows[:, :4], rows[0, :4]) > _SAME_FACE
        together[0] = True  # a degenerate box does not even overlap itself
        weights = scores[together, None]
        merged.append((float(scores[0]), (rows[together] * weights).sum(0) / weights.sum()))
        rows, scores = rows[~together], scores[~together]
    return merged


def _tiles(height: int, width: int, side: int) -> list[Region]:
    """Squares of at most `side`, overlapping by half, that cover the picture."""
    side = min(side, height, width)
    while _MIN_TILE <= side <= min(height, width):
        tops, lefts = (
            sorted({min(start, length - side) for start in range(0, length, side // 2)})
            for length in (height, width)
        )
        if len(tops) * len(lefts) <= _MAX_TILES:
            half = side / 2
            return [Region(left + half, top + half, side) for top in tops for left in lefts]
        side = math.ceil(side * 1.25)
    return []  # a strip so thin that too many tiles would be needed, or a picture too small for any


class FaceDetector(nn.Module):
    """[H, W, 3] pictures in 0..1 → detections."""

    def __init__(self, graph: TfliteGraph):
        super().__init__()
        self.graph = graph
        self.register_buffer("anchors", anchors(), persistent=False)

    def forward(self, picture: Tensor, threshold: float = 0.5, fine: bool = False) -> list[Detection]:
        """Candidates: the whole picture's first, then those of smaller and smaller tiles, each surest first.

        A face that several searches found is there several times, and among the small ones are mistakes:
        only the mesh network can tell.

        Args:
            fine: look in tiles of a fifth of the short side instead, for faces down to a thirtieth of it.
        """
        factor = max(1, math.ceil(max(picture.shape[:2]) / WORKING_SIDE))
        factor = min(factor, *picture.shape[:2])
        working = shrink(picture, factor).to(self.anchors.device)
        height, width = working.shape[:2]
        short, long = sorted((height, width))
        if fine:
            searches = [_tiles(height, width, short // 5)]
        else:
            searches = [[Region(width / 2, height / 2, long)]]
            searches += [_tiles(height, width, short)] if long > short else []
            searches += [_tiles(height, width, short // 2), _tiles(height, width, short // 3)]
        found = [detection for regions in searches for detection in self._search(working, regions, threshold)]
        return [_to_picture(detection, factor, picture.device) for detection in found]

    def _search(self, picture: Tensor, regions: list[Region], threshold: float) -> list[Detection]:
        """All regions, surest detection first, each place once."""
        found = []
        for start in range(0, len(regions), _BATCH):
            batch = regions[start : start + _BATCH]
            pictures = torch.stack(
                [sample(picture, region, INPUT, "zeros", pixel_centres=False) for region in batch]
            )
            raw, logits = self.graph(pictures * 2 - 1)  # [B, 896, 16], [B, 896, 1]
            scores = logits[..., 0].sigmoid()
            for region, values, score in zip(batch, raw / INPUT, scores, strict=True):
                hits = score >= threshold
                found += self._decode(values[hits], self.anchors[hits], score[hits], region)
        return _distinct(sorted(found, key=lambda detection: -detection.score))

    def _decode(self, raw: Tensor, anchor: Tensor, scores: Tensor, region: Region) -> list[Detection]:
        """raw [N, 16]: centre, size, then six points, in units of the region."""
        centre, extent = raw[:, :2] + anchor, raw[:, 2:4]
        eyes = raw[:, 4:8] + anchor.repeat(1, 2)
        rows = torch.cat([centre - extent / 2, centre + extent / 2, eyes], dim=1)
        found = []
        for score, row in _merge(rows, scores):
            points = region.to_picture(row.reshape(4, 2) - 0.5)
            found.append(Detection(score, points[:2].reshape(4), points[2:]))
        return found


def _to_picture(detection: Detection, factor: int, device: torch.device) -> Detection:
    """From pixels of the shrunken picture to those of the picture."""
    box, eyes = (((points + 0.5) * factor - 0.5).to(device) for points in (detection.box, detection.eyes))
    return Detection(detection.score, box, eyes)


def _distinct(found: list[Detection]) -> list[Detection]:
    """Leaves out what overlaps an earlier detection: the same face in the next tile."""
    kept: list[Detection] = []
    for new in found:
        if all(iou(new.box, old.box) <= _SAME_FACE for old in kept):
            kept.append(new)
    return kept
