"""Several clips side by side in one, each with a line of text in its corner."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SHADE = 0.65
"""How dark the ground behind the text is."""


def put_clip(sheet: Tensor, number: int, columns: int, frames: Tensor, text: str) -> None:
    """Scale frames [F, S, S, 3] to cell `number` of a sheet [F, H, W, 3] of so many columns, in place."""
    side = sheet.shape[2] // columns
    row, column = divmod(number, columns)
    cell = sheet[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
    letters, ground = _label(text, side)
    for index, frame in enumerate(frames):
        small = F.interpolate(
            frame.float().cpu().movedim(-1, 0)[None], size=(side, side), mode="bilinear", antialias=True
        )
        labeled = small[0].movedim(0, -1) * (1 - _SHADE * ground)
        cell[index] = labeled + (1 - labeled) * letters


def _label(text: str, side: int) -> tuple[Tensor, Tensor]:
    """How much of each pixel is text, and ground behind it, [side, side, 1] each."""
    letters, ground = Image.new("L", (side, side)), Image.new("L", (side, side))
    font = ImageFont.load_default(size=max(9, side // 14))
    pad = font.size // 3
    box = ImageDraw.Draw(letters).textbbox((2 * pad, 2 * pad), text, font=font)
    ImageDraw.Draw(ground).rectangle((pad, pad, box[2] + pad, box[3] + pad), fill=255)
    ImageDraw.Draw(letters).text((2 * pad, 2 * pad), text, font=font, fill=255)
    return tuple(torch.from_numpy(np.array(part)).float()[..., None] / 255 for part in (letters, ground))
