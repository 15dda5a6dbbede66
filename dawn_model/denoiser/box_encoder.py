"""Where the face is: a mask of the face box, and its code (docs/model.md, "Box mask")."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

_STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}

AUTHORS_WEIGHTS = Path(__file__).parents[1] / "assets" / "box_encoder.safetensors"


def box_mask(box: Tensor, height: int, width: int, size: int) -> Tensor:
    """Draw the face box into a picture of `size` × `size` pixels.

    The authors divide x by the height and y by the width and keep pixel indices in eight bits. Both are
    mended here: for square portraits up to 256 pixels the mask is theirs, for others it lies on the face.

    Args:
        box:           [4]: x_min, y_min, x_max, y_max in pixels of the picture it was found in
        height, width: of that picture
        size:          of the picture the model sees

    Returns [1, 1, S, S], float32: 1 inside (both ends included), 0 outside; all 0 beyond the border.

    Raises ValueError when `box` has not four numbers.
    """
    if box.shape != (4,):
        raise ValueError(f"a box is x_min, y_min, x_max, y_max; got shape {tuple(box.shape)}")
    sides = torch.tensor([width, height, width, height], dtype=torch.float32, device=box.device)
    left, top, right, bottom = (box.float() / sides * size).unbind()
    pixel = torch.arange(size, device=box.device)
    rows = (pixel >= top.trunc()) & (pixel <= (bottom + 1).trunc())
    columns = (pixel >= left.trunc()) & (pixel <= (right + 1).trunc())
    return (rows[:, None] & columns[None, :]).float()[None, None]


class BoxEncoder(nn.Module):
    """Two convolutions that bring the mask to the size of the motion latents."""

    def __init__(self, channels: int = 16, downscale: int = 4, operations=nn, **factory):
        """`downscale` is the flow autoencoder's; the authors' models have 4.

        Raises ValueError for a downscale that two convolutions cannot do.
        """
        super().__init__()
        if downscale not in _STRIDES:
            raise ValueError(f"downscale must be one of {sorted(_STRIDES)}, got {downscale}")
        first, second = _STRIDES[downscale]
        self.conv1 = operations.Conv2d(1, channels // 2, 3, stride=first, padding=1, **factory)
        self.conv2 = operations.Conv2d(channels // 2, channels, 3, stride=second, padding=1, **factory)

    def forward(self, mask: Tensor) -> Tensor:
        """[B, 1, S, S] → [B, channels, h, w], all ≥ 0."""
        return F.relu(self.conv2(F.relu(self.conv1(mask))))


def authors_box_encoder() -> dict[str, Tensor]:
    """The weights that belong to the authors' checkpoints, though none of them contains any.

    The authors never trained or saved this encoder: it was initialised at random after seeding with 1234.
    The shipped file holds what that gives, which is the best available hypothesis of what their denoiser
    was trained with (docs/model.md, "Files").
    """
    return load_file(AUTHORS_WEIGHTS)
