"""Rendered clips in memory, and random windows of them as batches.

Axis legend: B clips of a batch, K frames of a window, S picture side (256), C cells (64).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_model.audio.articulation import PAUSES, PHONES
from dawn_model.denoiser.face_code import PATCH, assemble, mesh_maps
from dawn_model.face.mouth import mouth_opening
from dawn_model.face.state import canonical_face

from .augment import random_look
from .scenario import GAZE_ACROSS

_MOUTH_GROWTH, _EYE_GROWTH = (1.6, 2.0), (1.8, 3.0)
"""How much wider and higher than the lips and the eyeballs the emphasised ellipses are. Those of the eyes reach the
brows."""
_USUAL_CHANGE = 0.03
"""In iris distances. Of the painted frames those are taken more often whose mouth is further from the source's than
this: a shut mouth of an open one is harder to paint than the same mouth again."""
_MOUTH_NOISE, _SHARE_BLUR, _NO_SHARES = 0.008, 9, 0.15
"""Error of gap and width, frames over which shares of classes may be smeared, as an encoder's are, and how often a
window goes without them."""


@dataclass(frozen=True)
class Batch:
    """source [B, 3, S, S] and frames [B, K, 3, S, S] in 0..1 (for `motion` the source alone, half as large, K = 0);
    code [B, PORTRAIT_CHANNELS, C, C]: what the denoiser sees of the source;
    flow [B, K, 2, C, C] in sides of the picture; visible [B, K, 1, C, C];
    mouth, eyes [B, K, 1, C, C]: soft ellipses, 0..1;
    condition [B, K, 27]: differences of mouth (19), pose (6) and blink (2) from the source
    expression [B, K, 7]: differences of what no condition says, and 1
    """

    source: Tensor
    frames: Tensor
    code: Tensor
    flow: Tensor
    visible: Tensor
    mouth: Tensor
    eyes: Tensor
    condition: Tensor
    expression: Tensor


class ClipStore:
    """All clips of a folder on one device."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu", limit: int | None = None):
        paths = sorted(path for path in folder.glob("*.npz") if ".tmp" not in path.name)[:limit]
        if not paths:
            raise FileNotFoundError(
                f"no clips in {folder}; make them with python -m training.clips.make_dataset"
            )
        self.clips = [self._load(path, device) for path in paths]
        self.device = torch.device(device)
        self._maps: dict[tuple[int, int, bool], Tensor] = {}

    @staticmethod
    def _load(path: Path, device) -> dict[str, Tensor]:
        with np.load(path) as packed:
            return {key: torch.from_numpy(packed[key]).to(device) for key in packed.files if key != "kind"}

    def __len__(self) -> int:
        return len(self.clips)

    def batch(
        self, rng: np.random.Generator, clips: int, window: int, augment: bool = True, motion: bool = True
    ) -> Batch:
        """`clips` random windows; the same for the same generator state.

        motion: `window` contiguous frames without their pictures; otherwise `window` of the painted frames
        """
        samples = [
            self.window(int(rng.integers(len(self.clips))), rng, window, augment, motion)
            for _ in range(clips)
        ]
        return Batch(**{key: torch.stack([sample[key] for sample in samples]) for key in samples[0]})

    def window(
        self, number: int, rng: np.random.Generator, window: int, augment: bool, motion: bool = True
    ) -> dict[str, Tensor]:
        """One sample of a batch, without its first axis."""
        clip = self.clips[number]
        frames, side = len(clip["mouth"]), int(rng.integers(len(clip["pose"])))
        if motion:
            start = int(rng.integers(frames - window + 1))
            shown, drawn = torch.arange(start, start + window), [side]
        else:
            opened = clip["mouth"][clip["painted"], 0] - clip["source_mouth"][side, 0]
            likely = _USUAL_CHANGE + opened.abs().double().numpy()
            chosen = np.sort(rng.choice(len(likely), window, replace=False, p=likely / likely.sum()))
            shown, drawn = clip["painted"][chosen], [side, *(len(clip["pose"]) + chosen)]
        seen = clip["rgb"][drawn].movedim(-1, 1).float() / 255
        cover = clip["cover"][drawn][:, None].float() / 255
        if motion:
            seen, cover = (
                F.avg_pool2d(part, seen.shape[-1] // (PATCH * _cells(clip))) for part in (seen, cover)
            )
        seen = random_look(seen, cover, rng) if augment else seen + 0.6 * (1 - cover)
        mouth, eyes = ellipses(clip["regions"][shown], _cells(clip))
        sample = {
            "source": seen[0],
            "frames": seen[1:],
            "flow": clip["flow"][side][shown].float(),
            "visible": clip["visible"][side][shown][:, None].float() / 255,
            "mouth": mouth,
            "eyes": eyes,
            "condition": self._condition(clip, side, shown, rng if augment else None),
            "expression": F.pad(
                clip["expression"][shown] - clip["source_expression"][side], (0, 1), value=1.0
            ),
        }
        state = [clip["pose"][side].float(), clip["blink"][side].float()]
        flip = augment and rng.random() < 0.5
        if flip:
            sample = mirrored(sample)
            state = [state[0] * state[0].new_tensor([-1, 1, -1]), state[1].flip(0)]
        state.append(mouth_opening(clip["points"][side].float()))
        maps = self._mesh_maps(number, side, flip)
        sample["code"] = assemble(sample["source"][None], maps[None], *(part[None] for part in state))[0]
        return sample

    @staticmethod
    def _condition(
        clip: dict[str, Tensor], side: int, shown: Tensor, rng: np.random.Generator | None
    ) -> Tensor:
        """Condition rows [K, 27], with errors like those of an encoder and a landmarker where `rng` is given."""
        mouth = clip["mouth"][shown] - clip["source_mouth"][side]
        shares = F.pad(clip["shares"][shown][:, PHONES], (0, PAUSES))
        pose, blink = clip["pose_change"][side][shown].float(), clip["blink_change"][side][shown].float()
        if rng is not None:
            mouth = mouth + _MOUTH_NOISE * _normal(rng, mouth)
            pose, blink = pose + 0.2 * _normal(rng, pose), blink + 0.008 * _normal(rng, blink)
            blurred = F.avg_pool1d(shares.T[None], _SHARE_BLUR, 1, _SHARE_BLUR // 2, count_include_pad=False)
            shares = torch.lerp(shares, blurred[0].T, float(rng.uniform(0, 0.7)))
            shares = shares * float(rng.random() >= _NO_SHARES)
        return torch.cat([mouth, shares, pose, torch.zeros_like(pose), blink], dim=1)

    def _mesh_maps(self, number: int, side: int, flip: bool) -> Tensor:
        """Made once per source and kept: they take longer than everything else about a sample."""
        key = number, side, flip
        if key not in self._maps:
            clip = self.clips[number]
            size, points = clip["rgb"].shape[2], clip["points"][side].float()
            if flip:
                points = mirrored_points(points, size)
            self._maps[key] = mesh_maps(points, _cells(clip), size).half()
        return self._maps[key].float()


def _cells(clip: dict[str, Tensor]) -> int:
    return clip["flow"].shape[-1]


def _normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.normal(0, 1, like.shape).astype(np.float32)).to(like)


def ellipses(regions: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Mouth and both eyes of K frames, [K, 3, 4] (see clips.py) → soft masks [K, 1, C, C] of each."""
    ticks = (torch.arange(cells, device=regions.device) + 0.5) / cells
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    growth = regions.new_tensor([_MOUTH_GROWTH, _EYE_GROWTH, _EYE_GROWTH])
    centre, radius = (
        regions[..., :2, None, None],
        (regions[..., 2:] * growth)[..., None, None].clamp(min=0.01),
    )
    away = ((x - centre[:, :, 0]) / radius[:, :, 0]) ** 2 + ((y - centre[:, :, 1]) / radius[:, :, 1]) ** 2
    soft = torch.exp(-(away**2))
    return soft[:, :1], soft[:, 1:].amax(1, keepdim=True)


def mirrored(sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """Left and right exchanged: pictures, motion, yaw and roll, the two eyes."""
    sample = dict(sample)
    for key in ("source", "frames", "visible", "mouth", "eyes", "flow"):
        sample[key] = sample[key].flip(-1)
    sample["flow"] = sample["flow"] * sample["flow"].new_tensor([-1, 1])[:, None, None]
    condition = sample["condition"].clone()
    condition[:, -8:] *= condition.new_tensor([-1, 1, -1, 1, 1, 1, 1, 1])
    condition[:, -2:] = condition[:, -2:].flip(-1)
    sample["condition"] = condition
    sample["expression"] = sample["expression"].clone()
    sample["expression"][:, GAZE_ACROSS] *= -1
    return sample


@functools.cache
def _opposite() -> Tensor:
    """For each of the 478 mesh points the one on the other half of the face."""
    vertices = canonical_face().vertices
    skin = torch.cdist(vertices * vertices.new_tensor([-1, 1, 1]), vertices).argmin(1)
    irises = torch.tensor([473, 476, 475, 474, 477, 468, 471, 470, 469, 472])
    return torch.cat([skin, irises])


def mirrored_points(points: Tensor, side: int) -> Tensor:
    """Mesh points [478, 3] of a picture → of its mirror image."""
    points = points[_opposite().to(points.device)]
    return torch.cat([side - 1 - points[:, :1], points[:, 1:]], dim=1)
