"""Animated squares back into the full picture, one frame at a time.

Frames are small and pictures are large. What is finer than the frames can show (hair, pores, film grain) is
taken from the picture itself, where it still belongs: without the motion, where a frame shows what the picture
shows; with it, carried along by the flow, just as the flow autoencoder carries the picture's own pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..face.crop import Crop, resize
from ..face.mouth import lips_together
from ..face.portrait import Portrait
from ..face.square import Region
from ..flow_autoencoder.warping import MotionPyramid
from ..structures import MotionLatents
from .colour_match import ColourMatch
from .placement import Placement, paste_mask

_SAME, _OTHER = 0.02, 0.06
"""Differences between frame and picture up to which the fine detail of the picture stays, and from which on
nothing of it does."""


@dataclass(frozen=True)
class PasteOptions:
    """region, feather: see `paste_mask`; colour_match: 0 leaves the frames' colours, 1 takes the picture's;

    detail: how much of what is finer than the frames comes from the picture, 0..1.
    """

    region: str = "square"
    feather: float = 0.15
    colour_match: float = 1.0
    detail: float = 1.0

    def __post_init__(self):
        for name in ("colour_match", "detail"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} is no share; give 0 to 1")


def fit_within(height: int, width: int, longest: int) -> tuple[int, int]:
    """The size of a picture whose longest side may be at most `longest`, in even numbers, which video needs.

    0 leaves every size as it is.
    """
    if longest <= 0:
        return height, width
    scale = min(1.0, longest / max(height, width))
    return tuple(max(2, 2 * round(length * scale / 2 - 1e-6)) for length in (height, width))


def square_of(portrait: Portrait, side: int) -> Portrait:
    """The portrait's square as a portrait of its own: pasting into it gives the animated square, as sharp as
    the picture."""
    crop = Crop(portrait.crop.region, side, portrait.crop.height, portrait.crop.width)
    middle = (side - 1) / 2
    whole = Crop(Region(middle, middle, side), side, side, side)
    return Portrait(crop.cut(portrait.picture), crop.to_crop(portrait.points), whole)


class PasteBack:
    """Pastes frames of one portrait into its picture, or into other frames of that size.

    mask [H, W, 1]: how much of each pixel is pasted; picture [H, W, 3]: what the rest shows.
    """

    def __init__(
        self,
        portrait: Portrait,
        frame_size: int,
        size: tuple[int, int],
        options: PasteOptions,
        mask: Tensor | None = None,
        motion: MotionLatents | None = None,
    ):
        """
        Args:
            frame_size: side of the frames that will come.
            size: height and width of the result.
            mask: [H, W] of the portrait's picture; where it is black, nothing is pasted.
            motion: of the frames, in their order.
        """
        crop = Crop(portrait.crop.region, frame_size, portrait.crop.height, portrait.crop.width)
        whole = size == (crop.height, crop.width)
        self.picture = portrait.picture.cpu().clamp(0, 1)
        if not whole:
            self.picture = resize(self.picture, *size).clamp(0, 1)
        self._options = options
        self._motion = motion
        self._lips = None
        if motion is not None and motion.shut is not None:
            self._lips = lips_together(crop.to_crop(portrait.points), frame_size)
        self._place = place = Placement(crop, *size)
        # No finer than the result can show, or pixels would be skipped.
        self._size = max(1, min(frame_size, round(place.side)))
        self.reference = crop.cut(portrait.picture).cpu().clamp(0, 1)
        self._reference = self._fitted(self.reference)
        points = 2 * (crop.to_crop(portrait.points)[:, :2] + 0.5) / frame_size - 1
        self.weight = paste_mask(points, options.region, options.feather)
        inside = (place.grid.abs() <= 1).all(-1, keepdim=True)
        self._alpha = place.spread(self.weight) * inside
        if mask is not None:
            restricted = mask.cpu()[..., None] if whole else resize(mask.cpu()[..., None], *size)
            self._alpha = self._alpha * restricted[self._part].clamp(0, 1)
        self._detail = self.picture[self._part] - place.spread(self._reference, "bicubic")

    @property
    def _part(self) -> tuple[slice, slice]:
        return self._place.rows, self._place.columns

    @property
    def mask(self) -> Tensor:
        mask = torch.zeros(*self.picture.shape[:2], 1)
        mask[self._part] = self._alpha
        return mask

    def _fitted(self, frame: Tensor) -> Tensor:
        return frame if frame.shape[0] == self._size else resize(frame, self._size, self._size)

    def _fine(self, frame: Tensor, index: int) -> Tensor | float:
        """What the picture adds to a frame [S, S, 3] beyond the frame's resolution, [h, w, 3]."""
        if self._options.detail == 0:
            return 0.0
        if self._motion is None:
            difference = (frame - self._reference).abs().amax(-1)[None, None]
            difference = F.max_pool2d(difference, 5, stride=1, padding=2)  # an edge that moved has two places
            same = ((_OTHER - difference) / (_OTHER - _SAME)).clamp(0, 1)
            same = F.avg_pool2d(same, 3, stride=1, padding=1, count_include_pad=False)
            return self._options.detail * self._place.spread(same[0].movedim(0, -1)) * self._detail
        now = self._motion.part(slice(index, index + 1)).to(torch.device("cpu"))
        motion = MotionPyramid(now.flow, now.occlusion, self._lips, now.shut)
        grid, visible = motion.at((self._size, self._size))
        maps = self._place.spread(torch.cat([grid[0], visible[0].movedim(0, -1)], dim=-1))
        source = self._place.to_part(maps[..., :2])
        carried = F.grid_sample(
            self._detail.movedim(-1, 0)[None], source[None], padding_mode="zeros", align_corners=False
        )
        return self._options.detail * maps[..., 2:] * carried[0].movedim(0, -1)

    def __call__(self, frame: Tensor, index: int, canvas: Tensor) -> None:
        """Paste frame [S, S, 3] number `index` into a canvas [H, W, 3], in place."""
        frame = self._fitted(frame)
        pasted = self._place.spread(frame, "bicubic") + self._fine(frame, index)
        part = canvas[self._part]  # on any device; everything here is on the CPU
        part.copy_(torch.lerp(part.float().cpu(), pasted.clamp_(0, 1), self._alpha))


def paste_back(
    paster: PasteBack,
    frames: Tensor,
    colours: ColourMatch,
    onto: Tensor | None = None,
    out: Tensor | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Paste a clip, one frame at a time: beside the result, memory is that of a few pictures.

    Args:
        frames:   [F, S, S, 3]
        onto:     [N, H, W, 3], what is pasted into instead of the still picture. The shorter of both clips
                  rests on its last frame.
        out:      where to write, [max(F, N), H, W, 3], of any dtype; float32 on the CPU when not given
        callback: called as callback(done, total) after every frame; may raise to stop
    """
    total = max(len(frames), 0 if onto is None else len(onto))
    if out is None:
        out = torch.empty(total, *paster.picture.shape)
    for index in range(total):
        canvas = out[index]
        canvas.copy_(paster.picture if onto is None else onto[min(index, len(onto) - 1), ..., :3])
        shown = min(index, len(frames) - 1)
        paster(colours(frames[shown, ..., :3].float().cpu()), shown, canvas)
        if callback is not None:
            callback(index + 1, total)
    return out
