"""Rendered clips in memory, and random windows of them as batches.

Axis legend: B clips of a batch, K frames of a window, S picture side (128), C cells (64).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dawn_model.audio.mel_encoder import COLUMNS_PER_FRAME
from dawn_model.denoiser.face_code import assemble, mesh_maps
from dawn_model.face.state import canonical_face

from .augment import random_hearing, random_look
from .scenario import CONTEXT

_MOUTH_GROWTH, _EYE_GROWTH = (1.6, 2.0), (1.6, 2.2)
"""How much wider and higher than the lips and the eyeballs the emphasised ellipses are."""


@dataclass(frozen=True)
class Batch:
    """source [B, 3, S, S] and frames [B, K, 3, S, S] in 0..1 (without `pictures` of the source alone, K = 0);
    code [B, PORTRAIT_CHANNELS, C, C]: what the denoiser is told about the source;
    flow [B, K, 2, C, C] in sides of the picture; visible [B, K, 1, C, C];
    mouth, eyes [B, K, 1, C, C]: soft ellipses, 0..1;
    mel [B, 4·(K + 2·CONTEXT), bands]; steer [B, K, 8]: pose (6) and blink (2) differences;
    spoken [B, K, units]: weights of the face units of speech
    """

    source: Tensor
    frames: Tensor
    code: Tensor
    flow: Tensor
    visible: Tensor
    mouth: Tensor
    eyes: Tensor
    mel: Tensor
    steer: Tensor
    spoken: Tensor


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
        self, rng: np.random.Generator, clips: int, window: int, augment: bool = True, pictures: bool = True
    ) -> Batch:
        """`clips` random windows of `window` contiguous frames; the same for the same generator state."""
        samples = [
            self.window(int(rng.integers(len(self.clips))), rng, window, augment, pictures)
            for _ in range(clips)
        ]
        return Batch(**{key: torch.stack([sample[key] for sample in samples]) for key in samples[0]})

    def window(
        self, number: int, rng: np.random.Generator, window: int, augment: bool, pictures: bool = True
    ) -> dict[str, Tensor]:
        """One sample of a batch, without its first axis."""
        clip = self.clips[number]
        frames = len(clip["jaw"])
        start, side = int(rng.integers(frames - window + 1)), int(rng.integers(len(clip["pose"])))
        shown = slice(start, start + window)
        drawn = [side, *range(2 + start, 2 + start + window)] if pictures else [side]
        seen = clip["rgb"][drawn].movedim(-1, 1).float() / 255
        cover = clip["cover"][drawn][:, None].float() / 255
        columns = slice(COLUMNS_PER_FRAME * start, COLUMNS_PER_FRAME * (start + window + 2 * CONTEXT))
        mel = clip["mel"][columns].float()
        if augment:
            seen, mel = random_look(seen, cover, rng), random_hearing(mel, rng)
        else:
            seen = seen + 0.6 * (1 - cover)
        pose = clip["pose_change"][side, shown]
        steer = torch.cat([pose, torch.zeros_like(pose), clip["blink_change"][side, shown]], dim=1).float()
        if augment:
            noise = torch.from_numpy(rng.normal(0, 1, (window, 8)).astype(np.float32)).to(steer)
            steer = steer + noise * steer.new_tensor([0.2] * 3 + [0.0] * 3 + [0.008] * 2)
        mouth, eyes = ellipses(clip["regions"][shown], clip["flow"].shape[-1])
        sample = {
            "source": seen[0],
            "frames": seen[1:],
            "flow": clip["flow"][side, shown].float(),
            "visible": clip["visible"][side, shown][:, None].float() / 255,
            "mouth": mouth,
            "eyes": eyes,
            "mel": mel,
            "steer": steer,
            "spoken": clip["spoken"][shown],
        }
        pose, blink = torch.cat([clip["pose"][side], torch.zeros(3)]).float(), clip["blink"][side].float()
        flip = augment and rng.random() < 0.5
        if flip:
            sample = mirrored(sample)
            pose, blink = pose * pose.new_tensor([-1, 1, -1, 1, 1, 1]), blink.flip(0)
        maps = self._mesh_maps(number, side, flip)
        sample["code"] = assemble(sample["source"][None], maps[None], pose[None], blink[None])[0]
        return sample

    def _mesh_maps(self, number: int, side: int, flip: bool) -> Tensor:
        """Made once per source and kept: they take longer than everything else about a sample."""
        key = number, side, flip
        if key not in self._maps:
            clip = self.clips[number]
            size, points = clip["rgb"].shape[2], clip["points"][side].float()
            if flip:
                points = mirrored_points(points, size)
            self._maps[key] = mesh_maps(points, clip["flow"].shape[-1], size).half()
        return self._maps[key].float()


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
    steer = sample["steer"][:, [0, 1, 2, 3, 4, 5, 7, 6]]
    sample["steer"] = steer * steer.new_tensor([-1, 1, -1, 1, 1, 1, 1, 1])
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
