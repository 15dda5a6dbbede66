"""Frames side by side in one picture, to be looked at."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def write_sheet(rows: list[Tensor], path: Path, zoom: int = 2) -> None:
    """rows: clips [F, S, S, 3] in 0..1, one below the other; shorter ones end in black."""
    longest = max(len(row) for row in rows)
    padded = [torch.cat([row, row.new_zeros(longest - len(row), *row.shape[1:])]) for row in rows]
    sheet = torch.cat([torch.cat(list(row), dim=1) for row in padded])
    pixels = (sheet.clamp(0, 1) * 255).round().byte().numpy()
    picture = Image.fromarray(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.BICUBIC).save(path)


def evenly(frames: Tensor, count: int) -> Tensor:
    """`count` frames of a clip at even distances."""
    return frames[torch.linspace(0, len(frames) - 1, count).round().long()]
