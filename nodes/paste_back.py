"""DAWN Paste Back."""

from __future__ import annotations

import dataclasses
import logging

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dawn_model.face.picture import mask_for
from ..dawn_model.face.portrait import Portrait
from ..dawn_model.frame_range import FrameRange
from ..dawn_model.memory import pasting_need
from ..dawn_model.paste_back.colour_match import ColourMatch, ColourSums
from ..dawn_model.paste_back.device_speed import device_is_sooner
from ..dawn_model.paste_back.paste import PasteBack, PasteOptions, fit_within, paste_back, square_of
from ..dawn_model.paste_back.placement import REGIONS, WHOLE, part_of
from ..dawn_model.structures import MotionLatents
from .support import feedback, host
from .support.node import STAGES, DawnNode, schema
from .support.sockets import MOTION_LATENTS, PORTRAIT, Motion
from .support.widgets import choice, decimal, whole

log = logging.getLogger(__name__)

DEFAULTS = PasteOptions()
RESULTS = PICTURE, SQUARE = "picture", "square"


class DawnPasteBack(DawnNode):
    """Puts the animated square back into the whole picture, without a seam. With the motion connected, the head
    keeps the sharpness of the picture while it moves. Frames may come from Render Frames or through an
    upscaler."""

    title, category = "DAWN Paste Back", STAGES
    aliases = ("face paste", "uncrop face", "stitch face", "blend face")
    advanced = ("feather", "detail", "first_frame", "colors")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls,
            inputs=[
                PORTRAIT.input(),
                io.Image.Input("images", tooltip="The frames of this portrait, from DAWN Render Frames."),
                MOTION_LATENTS.input(
                    "What the frames were rendered from. It carries hair, skin and grain of the picture along with "
                    "the head; without it they stay only where nothing moves.",
                    optional=True,
                ),
                io.Image.Input(
                    "onto",
                    optional=True,
                    tooltip="Frames to paste into instead of the still picture, of the same size as the result: "
                    "those of another DAWN Paste Back, for several faces in one picture. The shorter clip rests "
                    "on its last frame.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Nothing changes where this mask is black: hands, glasses, letters in front of the "
                    "face. Of the same size as the picture.",
                ),
                choice(
                    "region",
                    REGIONS,
                    DEFAULTS.region,
                    "square: everything that was animated, for heads that move. face: only the face, for a "
                    "head that stays where it is and hair or a background that must not change at all.",
                ),
                decimal(
                    "feather",
                    DEFAULTS.feather,
                    (0.0, 0.25),
                    0.01,
                    "How wide the border fades, in sides of the square.",
                ),
                decimal(
                    "colour_match",
                    DEFAULTS.colour_match,
                    (0.0, 1.0),
                    0.05,
                    "Brings the frames' colors to those of the picture, the same change for all frames.",
                    display_name="color_match",
                ),
                decimal(
                    "detail",
                    DEFAULTS.detail,
                    (0.0, 1.0),
                    0.05,
                    "How much of what is finer than the frames can show comes from the picture. 0 shows "
                    "the frames as they are.",
                ),
                choice(
                    "result",
                    RESULTS,
                    PICTURE,
                    "picture: the whole picture. square: only what was animated, as large as in the picture or as "
                    "the frames, whichever is larger, and within longest_side; region, feather, mask and onto are "
                    "for the picture.",
                ),
                whole(
                    "longest_side",
                    1920,
                    (0, 16384),
                    "Makes larger pictures smaller, in pixels, because a minute of frames at 1920×1080 takes "
                    "37 GB of memory. Sides come out even, as videos need them. 0 keeps the size of the picture.",
                ),
                whole(
                    "first_frame",
                    0,
                    (0, 10_000_000),
                    "With the motion connected: which of its frames the first image is, as in Render Frames.",
                    optional=True,
                ),
                io.String.Input(
                    "colors",
                    optional=True,
                    force_input=True,
                    tooltip="For a clip that is pasted in parts: the colors of the whole clip, so that all parts are "
                    "changed alike. Without it, color_match measures the frames that it gets.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The finished frames."),
                io.Mask.Output(display_name="mask", tooltip="White where the frames replace the picture."),
                io.String.Output(
                    display_name="colors",
                    tooltip="What color_match measured: number of frames, sums of mean and mean square. Those of "
                    "several parts add up to those of the whole clip. Empty with color_match 0.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        images: Tensor | None,
        region: str,
        feather: float,
        colour_match: float,
        detail: float,
        result: str,
        longest_side: int,
        motion: Motion | None = None,
        onto: Tensor | None = None,
        mask: Tensor | None = None,
        first_frame: int = 0,
        colors: str | None = None,
    ) -> io.NodeOutput:
        options = PasteOptions(region, feather, colour_match, detail)
        side = _check_frames(images)
        if result == SQUARE:
            if mask is not None or onto is not None:
                raise ValueError(
                    "result: a square is not pasted into anything; choose picture, or disconnect mask and onto"
                )
            options = dataclasses.replace(options, region=WHOLE)
            portrait = square_of(portrait, max(side, round(portrait.crop.region.side)))
        elif result != PICTURE:
            raise ValueError(f"result: {result!r} is none; choose one of {', '.join(RESULTS)}")
        height, width = portrait.picture.shape[:2]
        size = fit_within(height, width, longest_side)
        if size != (height, width):
            log.info("DAWN: %d×%d is pasted at %d×%d; longest_side decides", width, height, size[1], size[0])
        _check_canvas(onto, size)
        restricted = None if mask is None else mask_for(mask, 1, height, width)[0]
        latents = None if motion is None else _frames_of(motion, first_frame, len(images))
        frames = max(len(images), 0 if onto is None else len(onto))
        rows, columns = part_of(portrait.crop, *size)
        need = pasting_need(frames, (rows.stop - rows.start, columns.stop - columns.start), side)
        sooner = device_is_sooner(portrait.crop.region.upright, torch.get_num_threads())
        device, plan = host.device_beside_models(need, sooner, cls.title)
        paster = PasteBack(portrait, side, size, options, restricted, latents, device)
        measured = _measured(colors, images, paster) if colour_match else None
        colours = (
            ColourMatch.none()
            if measured is None
            else ColourMatch.of_sums(measured, paster.reference, paster.weight, colour_match)
        )
        out = host.empty_images(frames, *size, "longest_side (size of DAWN Talking Head)", sides=1)
        progress, finished = feedback.Progress(frames, "pasting"), 0

        def on_frame(done: int, total: int) -> None:
            nonlocal finished
            finished = done
            progress.update(done)

        retry_with_fewer_frames = host.SmallerSlicesOnRetry(plan, cls.title)
        retry_with_fewer_frames(
            lambda plan: paste_back(paster, images, colours, onto, out, on_frame, plan.frames, finished)
        )
        return io.NodeOutput(
            out, paster.mask[None, ..., 0].to(out.device), "" if measured is None else measured.to_text()
        )


def _check_frames(images: Tensor | None) -> int:
    """The side of the frames. Raises ValueError for what are no frames of a square."""
    if images is None:
        raise ValueError("images: nothing arrived; connect DAWN Render Frames")
    if images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape:
        raise ValueError(f"images: expected frames [frames, side, side, 3], got {list(images.shape)}")
    if images.shape[1] != images.shape[2]:
        raise ValueError(
            f"images: the frames are {images.shape[2]}×{images.shape[1]}; only squares can be pasted back. "
            "Upscale them without cropping or stretching"
        )
    if not all(torch.isfinite(frame).all() for frame in images):
        raise ValueError("images: the frames hold values that are not numbers (NaN or infinite)")
    return images.shape[1]


def _measured(colors: str | None, images: Tensor, paster: PasteBack) -> ColourSums:
    if not colors:
        return ColourSums.of(images, paster.weight)
    try:
        return ColourSums.from_text(colors)
    except ValueError as error:
        raise ValueError(f"colors: {error}. Connect the colors of another DAWN Paste Back") from None


def _check_canvas(onto: Tensor | None, size: tuple[int, int]) -> None:
    if onto is None:
        return
    if onto.ndim != 4 or onto.shape[-1] not in (3, 4) or 0 in onto.shape or tuple(onto.shape[1:3]) != size:
        raise ValueError(
            f"onto: expected frames of {size[1]}×{size[0]}, got {list(onto.shape)}. Use frames of the same "
            "picture, with the same longest_side"
        )


def _frames_of(motion: Motion, first: int, count: int) -> MotionLatents:
    try:
        return FrameRange(len(motion.latents), first, first + count - 1).latents(motion.latents)
    except ValueError as error:
        raise ValueError(
            f"motion: {count} images, beginning with frame {first}, are more than its {len(motion.latents)} frames. "
            "Connect the motion that they were rendered from, and the first_frame of DAWN Render Frames"
        ) from error
