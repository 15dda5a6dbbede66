"""Pictures as they come from anywhere → RGB, one by one."""

from __future__ import annotations

import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor

WHITE = "white"
_OVERSHOOT = 0.5
"""Beyond 0 and 1: sharpening and resizing go a little too far, other scales much."""


def colour(text: str, name: str) -> Tensor:
    """A colour by name or as #rrggbb → RGB [3] in 0..1; `name` is the input that errors speak of.

    Raises ValueError for what is no color.
    """
    try:
        red, green, blue = ImageColor.getrgb(text.strip())[:3]
    except ValueError as error:
        raise ValueError(
            f"{name}: {text!r} is no color. Write a name such as white or teal, or #rrggbb such as #808080"
        ) from error
    return torch.tensor([red, green, blue]) / 255


def to_pictures(image: Tensor | None, background: str = WHITE) -> list[Tensor]:
    """IMAGE [B, H, W, C] with 1, 3 or 4 channels → B pictures [H, W, 3], float32.

    Transparency shows the background. Raises ValueError for no picture and for values that are not numbers.
    """
    if image is None:
        raise ValueError("image: nothing arrived; connect a Load Image node")
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(image)
    if not isinstance(image, Tensor):
        raise ValueError(
            f"image: expected pictures, and a {type(image).__name__} arrived. Connect a Load Image node"
        )
    if image.ndim == 3 and image.shape[-1] in (1, 3, 4):
        image = image[None]
    if image.dtype == torch.uint8:
        image = image.float() / 255
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"image: expected pictures [batch, height, width, 1, 3 or 4], got {list(image.shape)}"
        )
    if not image.isfinite().all():
        raise ValueError("image: the picture holds values that are not numbers (NaN or infinite)")
    darkest, brightest = float(image.min()), float(image.max())
    if darkest < -_OVERSHOOT or brightest > 1 + _OVERSHOOT:
        raise ValueError(
            f"image: its values go from {darkest:.4g} to {brightest:.4g}, expected 0 to 1. Bring them there (pictures "
            "in 0..255: divide by 255; in -1..1: add 1 and halve)"
        )
    behind = colour(background, "background").to(image.device)
    return [_to_rgb(picture.float(), behind) for picture in image]


def _to_rgb(picture: Tensor, behind: Tensor) -> Tensor:
    if picture.shape[-1] == 4:
        alpha = picture[..., 3:].clamp(0, 1)
        return picture[..., :3] * alpha + behind * (1 - alpha)
    return picture.expand(-1, -1, 3) if picture.shape[-1] == 1 else picture


def mask_for(mask: Tensor, pictures: int, height: int, width: int) -> list[Tensor]:
    """MASK [1 or B, H, W] → one [H, W] for each of B pictures of `height`×`width`.

    Raises ValueError for a mask of another size or number, or without values.
    """
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or mask.shape[1:] != (height, width):
        found = "×".join(str(length) for length in reversed(mask.shape[1:]))
        raise ValueError(
            f"mask: it is {found}, the picture is {width}×{height}. Make the mask from the same picture; "
            "Load Image gives 64×64 for a picture without transparency"
        )
    if len(mask) not in (1, pictures):
        raise ValueError(
            f"mask: {len(mask)} masks arrived for {pictures} pictures; send one, or one for each"
        )
    if not mask.isfinite().all():
        raise ValueError("mask: it holds values that are not numbers (NaN or infinite)")
    return [mask[index % len(mask)].float() for index in range(pictures)]
