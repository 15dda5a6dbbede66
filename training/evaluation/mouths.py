"""What a mouth looks like when it is open: teeth and darkness, or stretched lip skin."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates
from torch import Tensor

from dawn_model.face.mouth import LOWER_LIP, UPPER_LIP

from .metrics import IRISES

# fmt: off
_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
# fmt: on
_INNER = (*UPPER_LIP, *LOWER_LIP[-2:0:-1])
_FINER = 4
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def _inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """How much of every pixel lies in a polygon [P, 2], [height, width]."""
    mask = Image.new("L", (width * _FINER, height * _FINER))
    ImageDraw.Draw(mask).polygon([tuple((xy + 0.5) * _FINER) for xy in points], fill=255)
    return np.asarray(mask.resize((width, height), Image.BOX)) / 255


def inner_mouth(
    frames: Tensor, points: Tensor, gap: np.ndarray, quantile: float = 0.85
) -> tuple[float, float]:
    """In the most open frames [F, S, S, 3]: distance of the mean colour inside the inner lips from that of the lips,
    and the deviation of luminance inside. Real mouths: .06–.32 (mean .21) and .08–.36 (.19); lip skin: .04–.1 and
    .01–.08.
    """
    found = []
    for number in np.flatnonzero(gap >= np.quantile(gap, quantile)):
        frame, mesh = frames[number].numpy(), points[number].numpy()
        inside = _inside(mesh[list(_INNER), :2], *frame.shape[:2])
        lips = _inside(mesh[list(_OUTER), :2], *frame.shape[:2]) * (1 - inside)
        if inside.sum() < 4:
            continue
        mean, of_lips = ((frame * part[..., None]).sum((0, 1)) / part.sum() for part in (inside, lips))
        light = frame @ _LUMINANCE
        spread = (inside * (light - (light * inside).sum() / inside.sum()) ** 2).sum() / inside.sum()
        found.append((np.linalg.norm(mean - of_lips), np.sqrt(spread)))
    return tuple(np.mean(found, axis=0)) if found else (0.0, 0.0)


def shut_line(frames: Tensor, points: Tensor, gap: np.ndarray, shut: float = 0.05) -> tuple[float, float]:
    """Of frames [F, S, S, 3] with shut lips, means: how much darker the line between them is than the lips, as a share;
    and how far its darkest points jump from one place to the next, in iris distances.

    Ten real people: .30–.76 and .0005–.0056. Lips met cell by cell, as they did once: .02–.54 and .003–.021. NaN if no
    frame is shut.
    """
    found = []
    for number in np.flatnonzero(gap < shut):
        frame, mesh = frames[number].numpy(), points[number].numpy()[:, :2]
        unit = np.linalg.norm(mesh[IRISES[0]] - mesh[IRISES[1]])
        middle = (mesh[list(UPPER_LIP)] + mesh[list(LOWER_LIP)]) / 2
        width = np.linalg.norm(middle[-1] - middle[0])
        along = (middle[-1] - middle[0]) / width
        places = np.linspace(0.2, 0.8, max(8, round(0.6 * width)))
        line = np.stack(
            [np.interp(places, np.linspace(0, 1, len(middle)), axis) for axis in middle.T], axis=1
        )
        depth = np.arange(-0.14, 0.141, 0.01)
        looked = line[:, None] + depth[:, None] * unit * np.array([-along[1], along[0]])
        light = map_coordinates(frame @ _LUMINANCE, [looked[..., 1], looked[..., 0]], order=1)
        inner = np.abs(depth) < 0.065
        darkest = depth[inner][light[:, inner].argmin(1)]
        found.append(
            (1 - light[:, inner].min(1).mean() / light[:, ~inner].mean(), np.abs(np.diff(darkest)).mean())
        )
    return tuple(np.mean(found, axis=0)) if found else (np.nan, np.nan)


def mouth_crops(frames: Tensor, points: Tensor, size: int = 256) -> Tensor:
    """The mouth of every frame, an iris distance high and as wide, enlarged, [F, size, size, 3]: four times its size
    where the irises are 64 pixels apart."""
    crops = []
    for frame, mesh in zip(frames, points.numpy(), strict=True):
        unit = np.linalg.norm(mesh[IRISES[0], :2] - mesh[IRISES[1], :2])
        x, y = mesh[[61, 291, 13, 14], :2].mean(0)
        picture = Image.fromarray((frame.numpy().clip(0, 1) * 255 + 0.5).astype(np.uint8))
        box = (x - unit / 2, y - unit / 2, x + unit / 2, y + unit / 2)
        box = [min(max(edge, 0), picture.width) for edge in box]
        crops.append(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box)))
    return torch.from_numpy(np.stack(crops)).float() / 255
