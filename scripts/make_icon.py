#!/usr/bin/env python3
"""Makes media/icon.png and media/banner.jpg, the pictures that ComfyUI's registry shows of a plugin.

    bash -c 'source scripts/setup_env.sh && $DAWN_PYTHON scripts/make_icon.py'

The icon: a head that speaks, drawn here. The banner: the same beside the wave of the shipped speech. Nobody's
photograph: such pictures advertise, and the shipped portrait's astronaut endorses nothing.
"""

from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MEDIA = Path(__file__).resolve().parents[1] / "media"
ICON, BANNER = 400, (1344, 576)  # the registry asks for 1:1 up to 800 and for 21:9
FINER = 4  # drawn larger and made smaller, for smooth edges
NIGHT, DAWN = (24, 26, 44), (255, 138, 92)
LIGHT = (255, 240, 222)


def sky(width: int, height: int) -> Image.Image:
    """From night above to dawn below."""
    share = (np.linspace(0, 1, height)[:, None, None]) ** 1.4
    pixels = (1 - share) * np.array(NIGHT) + share * np.array(DAWN)
    return Image.fromarray(pixels.round().astype(np.uint8).repeat(width, axis=1))


def draw_head(picture: Image.Image, x: float, y: float, size: float) -> None:
    """A head with an open mouth, and three arcs of sound beside it; x, y: its middle."""
    pen = ImageDraw.Draw(picture)
    pen.ellipse([x - 0.3 * size, y - 0.42 * size, x + 0.3 * size, y + 0.32 * size], fill=LIGHT)
    pen.pieslice([x - 0.5 * size, y + 0.36 * size, x + 0.5 * size, y + 1.2 * size], 180, 360, fill=LIGHT)
    for side in (-1, 1):
        eye = x + side * 0.12 * size
        pen.ellipse([eye - 0.035 * size, y - 0.12 * size, eye + 0.035 * size, y - 0.05 * size], fill=NIGHT)
    pen.ellipse([x - 0.09 * size, y + 0.08 * size, x + 0.09 * size, y + 0.2 * size], fill=NIGHT)
    for number in range(3):
        reach = (0.36 + 0.09 * number) * size
        box = [x - reach, y + 0.12 * size - reach, x + reach, y + 0.12 * size + reach]
        for angle in (0, 180):
            pen.arc(box, angle - 22, angle + 22, fill=LIGHT, width=round(0.028 * size))


def loudness(columns: int) -> np.ndarray:
    """Of the shipped speech, 0..1 in each of `columns` parts."""
    with wave.open(str(MEDIA / "speech" / "sense_and_sensibility.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    parts = np.array([np.abs(part.astype(float)).max() for part in np.array_split(samples, columns)])
    return parts / parts.max()


def icon() -> Image.Image:
    picture = sky(ICON * FINER, ICON * FINER)
    draw_head(picture, ICON * FINER / 2, 0.47 * ICON * FINER, 0.86 * ICON * FINER)
    return picture.resize((ICON, ICON), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    width, height = BANNER
    picture = sky(width, height)
    large = picture.resize((width * FINER, height * FINER))
    draw_head(large, height / 2 * FINER, 0.47 * height * FINER, 0.8 * height * FINER)
    picture = large.resize((width, height), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    left, middle, reach = height + 40, 0.66 * height, 0.2 * height
    bars = loudness((width - left - 60) // 10)
    for number, loud in enumerate(bars):
        x, half = left + 10 * number, max(2, loud * reach)
        pen.rounded_rectangle([x, middle - half, x + 5, middle + half], radius=2, fill=LIGHT)
    pen.text((left, 0.16 * height), "DAWN Talking Head", font=ImageFont.load_default(size=72), fill=LIGHT)
    pen.text(
        (left, 0.33 * height),
        "a portrait and speech in, a video out",
        font=ImageFont.load_default(size=34),
        fill=LIGHT,
    )
    return picture


def main() -> None:
    icon().save(MEDIA / "icon.png", optimize=True)
    banner().save(MEDIA / "banner.jpg", quality=88)
    for name in ("icon.png", "banner.jpg"):
        print(f"{MEDIA / name}: {math.ceil((MEDIA / name).stat().st_size / 1000)} kB")


if __name__ == "__main__":
    main()
