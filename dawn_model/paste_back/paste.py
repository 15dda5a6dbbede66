"""Animated squares back into the full picture.

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

from ..face.crop import Crop, resize, resize_weights
from ..face.mouth import inner_lips
from ..face.portrait import Portrait
from ..face.square import Region
from ..flow_autoencoder.meeting_lips import with_meeting_lips
from ..flow_autoencoder.warping import MotionPyramid
from ..hardware.host_memory import empty_on_host
from ..structures import MotionLatents
from .bands import Band, bands, in_pieces
from .colour_match import ColourMatch
from .lines import Lines, resized
from .placement import Placement, paste_mask
from .spread import Spread

_SAME, _OTHER = 0.02, 0.06
"""Differences between frame and picture up to which the fine detail of the picture stays, and from which on
nothing of it does."""

_TOGETHER = 16
"""Frames that get their part before any gets what lies round it: that passes by the cache, and what all parts need
would have to come from memory again for every frame."""


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

    picture [H, W, 3]: what is pasted into. What every frame needs lies on `device`, where the pasting is computed.
    """

    def __init__(
        self,
        portrait: Portrait,
        frame_size: int,
        size: tuple[int, int],
        options: PasteOptions,
        mask: Tensor | None = None,
        motion: MotionLatents | None = None,
        device: torch.device | None = None,
    ):
        """
        Args:
            frame_size: side of the frames that will come.
            size: height and width of the result.
            mask: [H, W] of the portrait's picture; where it is black, nothing is pasted.
            motion: of the frames, in their order.
            device: the CPU when not given; any other must know `grid_sample` in all its modes.
        """
        self.device = device = device or torch.device("cpu")
        crop = Crop(portrait.crop.region, frame_size, portrait.crop.height, portrait.crop.width)
        whole = size == (crop.height, crop.width)
        self.picture = portrait.picture.cpu().clamp(0, 1)
        if not whole:
            self.picture = resize(self.picture, *size).clamp(0, 1)
        self._motion = motion
        self._lips = None
        if motion is not None and motion.shut is not None:
            lips = inner_lips(crop.to_crop(portrait.points), frame_size)
            self._lips = None if lips is None else lips.to(device)
        self._place = place = Placement(crop, *size)
        # No finer than the result can show, or pixels would be skipped.
        self._size = max(1, min(frame_size, round(place.side)))
        fit = None if self._size == frame_size else resize_weights(frame_size, self._size)
        self.reference = crop.cut(portrait.picture).cpu().clamp(0, 1)
        points = 2 * (crop.to_crop(portrait.points)[:, :2] + 0.5) / frame_size - 1
        self.weight = paste_mask(points, options.region, options.feather)
        alpha = Spread(place, self.weight.shape[0], False, self.weight.device)
        self._alpha = alpha.whole(self.weight) * (place.grid.abs() <= 1).all(-1)
        if mask is not None:
            restricted = mask.cpu()[..., None] if whole else resize(mask.cpu()[..., None], *size)
            self._alpha = self._alpha * restricted[self._part].movedim(-1, 0).clamp(0, 1)
        part = self.picture[self._part].movedim(-1, 0).contiguous()
        fine = part - Spread(place, self._size, True, part.device, fit).whole(self.reference)
        self._frames = Spread(place, self._size, True, device, fit)
        self._fit = None if fit is None else Lines.of(fit).to(device)
        self._reference = self._fitted(self.reference[None].to(device))
        self._from_grid = self._lips is None and place.upright
        grow = None
        if motion is not None and self._from_grid:
            grow = _growing(motion.flow.shape[1], self._size)
        self._maps = Spread(place, self._size, False, device, grow)
        # What is pasted into, and how much of it is replaced.
        self._bands = [
            (band, *(in_pieces(planes, band).to(device) for planes in (part, self._alpha)))
            for band in bands(*part.shape[1:], device)
        ]
        self._detail = None
        if options.detail and motion is None:
            self._detail = {
                band: in_pieces(options.detail * fine, band).to(device) for band, *_ in self._bands
            }
        elif options.detail:
            self._detail = (options.detail * fine)[None].to(device)

    @property
    def _part(self) -> tuple[slice, slice]:
        return self._place.rows, self._place.columns

    @property
    def mask(self) -> Tensor:
        """[H, W, 1]: how much of each pixel is pasted."""
        mask = torch.zeros(*self.picture.shape[:2], 1)
        mask[self._part] = self._alpha.movedim(0, -1)
        return mask

    def _fitted(self, frames: Tensor) -> Tensor:
        """[B, S, S, C] → no finer than the result can show."""
        return frames if self._fit is None else resized(frames, self._fit)

    def _fine(self, frames: Tensor, shown: slice) -> Callable[[Band], Tensor | tuple[Tensor, Tensor]]:
        """What the picture adds to frames [B, S, S, 3] beyond their resolution: two factors for each band, that
        multiply to [B, pieces, 3, rows, w]."""
        detail = self._detail
        if self._motion is None:
            difference = (self._fitted(frames) - self._reference).abs().amax(-1)[:, None]
            difference = F.max_pool2d(difference, 5, stride=1, padding=2)  # an edge that moved has two places
            same = ((_OTHER - difference) / (_OTHER - _SAME)).clamp(0, 1)
            same = F.avg_pool2d(same, 3, stride=1, padding=1, count_include_pad=False)
            laid = self._maps.lay(same.movedim(1, -1))
            return lambda band: (self._maps.rows(laid, band), detail[band])
        laid = self._maps.lay(self._motion_maps(shown))

        def carried(band: Band) -> tuple[Tensor, Tensor]:
            maps = self._maps.rows(laid, band)
            source = maps[:, :, :2].movedim(2, -1).flatten(0, 1)
            shared = detail.expand(len(source), -1, -1, -1)
            looked_up = F.grid_sample(shared, source, padding_mode="zeros", align_corners=False)
            return looked_up.unflatten(0, maps.shape[:2]), maps[:, :, 2:]

        return carried

    def _motion_maps(self, shown: slice) -> Tensor:
        """Where in the part those frames take the picture's detail from, and how much of it may be seen: x, y and
        visibility, [B, h, w, 3] of the motion's size or [B, S, S, 3]."""
        now = self._motion.part(shown).to(self.device)
        if self._from_grid:
            grid, visible = now.flow.float(), now.occlusion.float()
        else:
            grid, visible = MotionPyramid(now.flow, now.occlusion).at((self._size, self._size))
            if self._lips is not None:
                grid, visible = with_meeting_lips(grid, visible, self._lips, now.flow, now.shut)
        return torch.cat([self._place.to_part(grid), visible.movedim(1, -1)], dim=-1)

    def paste(self, frames: Tensor, shown: slice, canvases: Tensor, onto: Tensor | None) -> None:
        """Paste frames [B, S, S, 3], those numbers of the clip, into as many canvases [B, H, W, 3] of any dtype, on
        any device.

        onto: [B or 1, H, W, 3], what is pasted into instead of the picture
        """
        laid = self._frames.lay(frames)
        fine = None if self._detail is None else self._fine(frames, shown)
        rows, columns = self._part
        parts = canvases[:, rows, columns]
        for band, under, alpha in self._bands:
            pasted = self._frames.rows(laid, band)
            if fine is not None:
                pasted.addcmul_(*fine(band))
            if onto is not None:
                lines = band.lines(rows.stop - rows.start).to(onto.device)
                under = onto[:, rows, columns][:, lines].movedim(-1, 2).to(self.device).float()
            torch.lerp(under.expand_as(pasted), pasted.clamp_(0, 1), alpha, out=pasted)
            for piece in range(band.pieces):
                start = band.start + piece * band.rows
                target = parts[:, start : start + band.rows]
                target.copy_(pasted[:, piece, :, : target.shape[1]].movedim(1, -1))

    def surround(self, canvases: Tensor, pictures: Tensor) -> None:
        """Fill what lies round the part in canvases [B, H, W, 3] from pictures [B or 1, H, W, 3]."""
        rows, columns = self._part
        height, width = self.picture.shape[:2]
        above, below = (slice(0, rows.start), slice(None)), (slice(rows.stop, height), slice(None))
        beside = (rows, slice(0, columns.start)), (rows, slice(columns.stop, width))
        for down, across in (above, below, *beside):
            canvases[:, down, across].copy_(pictures[:, down, across])


def _growing(length: int, size: int) -> Tensor:
    """How `MotionPyramid` brings a line of a map to another size, [size, length]."""
    positions = 2 * (torch.arange(size) + 0.5) / size - 1
    return Lines.at(positions, length, cubic=False).weights(length)


def paste_back(
    paster: PasteBack,
    frames: Tensor,
    colours: ColourMatch,
    onto: Tensor | None = None,
    out: Tensor | None = None,
    callback: Callable[[int, int], None] | None = None,
    at_once: int = 1,
    first: int = 0,
) -> Tensor:
    """Paste a clip; beside the result, memory is that of a few pictures.

    Args:
        frames:   [F, S, S, 3]
        onto:     [N, H, W, 3], what is pasted into instead of the still picture. The shorter of both clips
                  rests on its last frame.
        out:      where to write, [max(F, N), H, W, 3], of any dtype; float32 on the CPU when not given
        callback: called as callback(done, total) after every frame; may raise to stop
        at_once:  frames that the device pastes together
        first:    those before it are in `out` already
    """
    total = max(len(frames), 0 if onto is None else len(onto))
    if out is None:
        out = empty_on_host(total, *paster.picture.shape)
    colours = colours.to(paster.device)
    picture = paster.picture[None].to(out.device, out.dtype)
    while first < total:
        # A clip that ends in the middle of a group would rest for some of its frames only.
        ends = [len(clip) for clip in (frames, onto) if clip is not None and first < len(clip)]
        stop = min(first + max(_TOGETHER, at_once), *ends)
        under = picture if onto is None else onto[rested(first, stop, len(onto)), ..., :3]
        step = at_once if first < len(frames) else 1
        for start in range(first, stop, step):
            end = min(start + step, stop)
            shown = rested(start, end, len(frames))
            now = None if onto is None else onto[rested(start, end, len(onto)), ..., :3]
            small = frames[shown, ..., :3].to(paster.device).float()
            paster.paste(colours(small), shown, out[start:end], now)
        paster.surround(out[first:stop], under)
        for done in range(first + 1, stop + 1):
            if callback is not None:
                callback(done, total)
        first = stop
    return out


def rested(first: int, stop: int, length: int) -> slice:
    """Those frames of a clip, or its last one when it has ended."""
    return slice(first, stop) if first < length else slice(length - 1, length)
