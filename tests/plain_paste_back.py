"""Pasting back written down plainly: one frame at a time, every pixel looked up by `grid_sample`, on the CPU.

The tests prove `PasteBack` equal to it; benchmarks time against it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_model.face.crop import Crop, resize
from dawn_model.face.mouth import inner_lips
from dawn_model.face.portrait import Portrait
from dawn_model.flow_autoencoder.meeting_lips import with_meeting_lips
from dawn_model.flow_autoencoder.warping import MotionPyramid
from dawn_model.paste_back.colour_match import ColourMatch
from dawn_model.paste_back.paste import PasteOptions
from dawn_model.paste_back.placement import Placement, paste_mask
from dawn_model.structures import MotionLatents

SAME, OTHER = 0.02, 0.06


def spread(place: Placement, square: Tensor, mode: str = "bilinear") -> Tensor:
    """A picture of the square [S, S, C] → as it lies in the upright part, [h, w, C]."""
    image = square.movedim(-1, 0)[None]
    laid = F.grid_sample(image, place.grid[None], mode=mode, padding_mode="border", align_corners=False)
    return laid[0].movedim(0, -1)


class PlainPasteBack:
    """What `PasteBack` computes."""

    def __init__(
        self,
        portrait: Portrait,
        frame_size: int,
        size: tuple[int, int],
        options: PasteOptions,
        mask: Tensor | None = None,
        motion: MotionLatents | None = None,
    ):
        crop = Crop(portrait.crop.region, frame_size, portrait.crop.height, portrait.crop.width)
        whole = size == (crop.height, crop.width)
        self.picture = portrait.picture.clamp(0, 1)
        if not whole:
            self.picture = resize(self.picture, *size).clamp(0, 1)
        self.options, self.motion, self.lips = options, motion, None
        if motion is not None and motion.shut is not None:
            self.lips = inner_lips(crop.to_crop(portrait.points), frame_size)
        self.place = place = Placement(crop, *size)
        self.size = max(1, min(frame_size, round(place.side)))
        self.whole_reference = crop.cut(portrait.picture).clamp(0, 1)
        self.reference = self.fitted(self.whole_reference)
        points = 2 * (crop.to_crop(portrait.points)[:, :2] + 0.5) / frame_size - 1
        self.weight = paste_mask(points, options.region, options.feather)
        inside = (place.grid.abs() <= 1).all(-1, keepdim=True)
        self.alpha = spread(place, self.weight) * inside
        self.part = place.rows, place.columns
        if mask is not None:
            restricted = mask[..., None] if whole else resize(mask[..., None], *size)
            self.alpha = self.alpha * restricted[self.part].clamp(0, 1)
        self.detail = self.picture[self.part] - spread(place, self.reference, "bicubic")

    def fitted(self, frame: Tensor) -> Tensor:
        return frame if frame.shape[0] == self.size else resize(frame, self.size, self.size)

    def fine(self, frame: Tensor, index: int) -> Tensor | float:
        if self.options.detail == 0:
            return 0.0
        if self.motion is None:
            difference = (frame - self.reference).abs().amax(-1)[None, None]
            difference = F.max_pool2d(difference, 5, stride=1, padding=2)
            same = ((OTHER - difference) / (OTHER - SAME)).clamp(0, 1)
            same = F.avg_pool2d(same, 3, stride=1, padding=1, count_include_pad=False)
            return self.options.detail * spread(self.place, same[0].movedim(0, -1)) * self.detail
        now = self.motion.part(slice(index, index + 1))
        grid, visible = MotionPyramid(now.flow, now.occlusion).at((self.size, self.size))
        if self.lips is not None:
            grid, visible = with_meeting_lips(grid, visible, self.lips, now.flow, now.shut)
        maps = spread(self.place, torch.cat([grid[0], visible[0].movedim(0, -1)], dim=-1))
        source = self.place.to_part(maps[..., :2])
        carried = F.grid_sample(
            self.detail.movedim(-1, 0)[None], source[None], padding_mode="zeros", align_corners=False
        )
        return self.options.detail * maps[..., 2:] * carried[0].movedim(0, -1)

    def paste(self, frame: Tensor, index: int, canvas: Tensor) -> None:
        frame = self.fitted(frame)
        pasted = spread(self.place, frame, "bicubic") + self.fine(frame, index)
        part = canvas[self.part]
        part.copy_(torch.lerp(part.float(), pasted.clamp_(0, 1), self.alpha))


def plain_paste_back(
    paster: PlainPasteBack,
    frames: Tensor,
    colours: ColourMatch,
    onto: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    total = max(len(frames), 0 if onto is None else len(onto))
    if out is None:
        out = torch.empty(total, *paster.picture.shape)
    for index in range(total):
        canvas = out[index]
        canvas.copy_(paster.picture if onto is None else onto[min(index, len(onto) - 1), ..., :3])
        shown = min(index, len(frames) - 1)
        paster.paste(colours(frames[shown, ..., :3].float()), shown, canvas)
    return out
