"""Pasting frames back into a 1920×1080 picture: a minute's memory beside the result itself, and the CPU time of a
frame against the plain computation.

    .venv/bin/python benchmarks/paste_back.py
    .venv/bin/python benchmarks/paste_back.py --seconds 10 --folder /var/tmp

The result, 37 GB for a minute, lies in a temporary file in `--folder`, so it takes disk instead of memory; what the
process holds beside it is the system's account of its own (anonymous) memory, read every few milliseconds. The
frames move the portrait's head, with the motion connected, which is the most that the node does. The plain
computation is tests/plain_paste_back.py; both take turns, and the shortest of `--rounds` counts. Results go to
benchmarks/results/paste_back.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from plain_paste_back import PlainPasteBack, plain_paste_back  # noqa: E402
from run import process_status  # noqa: E402

from dawn_model.face.crop import crop_face, resize  # noqa: E402
from dawn_model.face.landmarker import FaceLandmarker, choose_face  # noqa: E402
from dawn_model.face.portrait import Portrait  # noqa: E402
from dawn_model.flow_autoencoder.warping import MotionPyramid, coordinate_grid  # noqa: E402
from dawn_model.paste_back.colour_match import ColourMatch  # noqa: E402
from dawn_model.paste_back.paste import PasteBack, PasteOptions, paste_back  # noqa: E402
from dawn_model.structures import MotionLatents  # noqa: E402

HEIGHT, WIDTH, SIDE, LATENT = 1080, 1920, 128, 32
CASES = ["upright", "turned", "without motion", "frames of 512 pixels", "as high as the picture"]


class Watch(threading.Thread):
    """The most anonymous memory that the process had since the thread began."""

    def __init__(self):
        super().__init__(daemon=True)
        self.before = self.peak = process_status("RssAnon")
        self.going = True

    def run(self) -> None:
        while self.going:
            self.peak = max(self.peak, process_status("RssAnon"))
            time.sleep(0.003)


def large_portrait() -> Portrait:
    """The astronaut in the middle of a wide picture."""
    picture = Image.open(ROOT / "media" / "portraits" / "astronaut.png").convert("RGB")
    square = torch.from_numpy(np.array(picture)).float() / 255
    wide = torch.full((HEIGHT, WIDTH, 3), 0.5)
    left = (WIDTH - HEIGHT) // 2
    wide[:, left : left + HEIGHT] = resize(square, HEIGHT, HEIGHT).clamp(0, 1)
    face = choose_face(FaceLandmarker.load()(wide), HEIGHT, WIDTH)
    return Portrait(wide, face.points, crop_face(face.points, HEIGHT, WIDTH, SIDE))


def nodding(portrait: Portrait, frames: int) -> tuple[torch.Tensor, MotionLatents]:
    """Frames of the portrait's square moved up and down, and their motion."""
    grid = coordinate_grid(LATENT, LATENT, torch.zeros(()))
    shift = 0.05 * torch.sin(torch.arange(frames) / 6)
    flow = grid.expand(frames, -1, -1, -1).clone()
    flow[..., 1] += shift[:, None, None]
    occlusion = torch.ones(frames, 1, LATENT, LATENT)
    square = portrait.crop.cut(portrait.picture).movedim(-1, 0)[None]
    moved = torch.empty(frames, SIDE, SIDE, 3)
    for start in range(0, frames, 50):
        part = slice(start, start + 50)
        moved[part] = MotionPyramid(flow[part], occlusion[part]).warp(square).movedim(1, -1)
    return moved.clamp_(0, 1), MotionLatents(flow=flow, occlusion=occlusion)


def minute(portrait: Portrait, frames: int, folder: Path | None) -> list[str]:
    images, motion = nodding(portrait, frames)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.truncate(frames * HEIGHT * WIDTH * 3 * 4)
        numbers = frames * HEIGHT * WIDTH * 3
        out = torch.from_file(file.name, shared=True, size=numbers).view(frames, HEIGHT, WIDTH, 3)
        watch = Watch()
        watch.start()
        start = time.perf_counter()
        paster = PasteBack(portrait, SIDE, (HEIGHT, WIDTH), PasteOptions(), motion=motion)
        colours = ColourMatch.between(images, paster.reference, paster.weight, 1.0)
        paste_back(paster, images, colours, out=out)
        taken = time.perf_counter() - start
        watch.going = False
        watch.join()
        changed = float((out[frames // 4] - portrait.picture).abs().max())
    assert changed > 0.05, "nothing was pasted"
    size = f"{out.numel() * 4 / 1e9:.1f} GB"
    return [f"{frames}", size, f"{(watch.peak - watch.before) / 1e6:.0f} MB", f"{frames / taken:.1f}"]


def against_plain(portrait: Portrait, name: str, frames: int, rounds: int) -> list[str]:
    """The CPU time of a frame, the memory for it included, and how far the pictures are apart."""
    region = portrait.crop.region
    if name == "turned":
        region = dataclasses.replace(region, angle=0.4)
    elif name == "as high as the picture":
        region = dataclasses.replace(region, side=0.98 * HEIGHT, y=HEIGHT / 2)
    portrait = dataclasses.replace(portrait, crop=dataclasses.replace(portrait.crop, region=region))
    images, motion = nodding(portrait, frames)
    if name == "frames of 512 pixels":
        images = F.interpolate(images.movedim(-1, 1), size=512, mode="bilinear").movedim(1, -1).contiguous()
    given = portrait, images.shape[1], (HEIGHT, WIDTH), PasteOptions(), None
    given += (None if name == "without motion" else motion,)
    ours, plain = PasteBack(*given), PlainPasteBack(*given)
    colours = ColourMatch.between(images, ours.reference, ours.weight, 1.0)
    calls = {
        "plain": lambda: plain_paste_back(plain, images, colours),
        "ours": lambda: paste_back(ours, images, colours),
    }
    best = dict.fromkeys(calls, float("inf"))
    results = {}
    for _ in range(rounds):
        for which, call in calls.items():
            results.pop(which, None)
            start = time.process_time()
            results[which] = call()
            best[which] = min(best[which], (time.process_time() - start) / frames)
    pairs = zip(results["plain"], results["ours"], strict=True)
    apart = 255 * max(float((one - other).abs().max()) for one, other in pairs)
    milliseconds = [f"{1e3 * best[which]:.1f} ms" for which in ("plain", "ours")]
    return [name, *milliseconds, f"1/{best['plain'] / best['ours']:.1f}", f"{apart:.3f}/255"]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="where the result may lie; the system's by default")
    parser.add_argument("--frames", type=int, default=24, help="of the comparison with the plain computation")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    portrait = large_portrait()
    long = minute(portrait, round(options.seconds * 25), options.folder)
    compared = [against_plain(portrait, name, options.frames, options.rounds) for name in CASES]
    threads = torch.get_num_threads()
    lines = [f"torch {torch.__version__}, {threads} threads, {WIDTH}×{HEIGHT}", ""]
    lines += table(["frames", "result", "memory beside it", "frames a second"], [long])
    head = ["CPU time of a frame", "plain", "ours", "share", "furthest apart"]
    lines += ["", *table(head, compared)]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "paste_back.md").write_text(text)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
