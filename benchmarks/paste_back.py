"""Memory of pasting a minute of frames back into a 1920×1080 picture, beside the result itself.

    .venv/bin/python benchmarks/paste_back.py
    .venv/bin/python benchmarks/paste_back.py --seconds 10 --folder /var/tmp

The result, 37 GB for a minute, lies in a temporary file in `--folder`, so it takes disk instead of memory; what the
process holds beside it is the system's account of its own (anonymous) memory, read every few milliseconds. The
frames move the portrait's head, with the motion connected, which is the most that the node does. Results go to
benchmarks/results/paste_back.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from run import process_status  # noqa: E402

from dawn_model.face.crop import crop_face, resize  # noqa: E402
from dawn_model.face.landmarker import FaceLandmarker, choose_face  # noqa: E402
from dawn_model.face.portrait import Portrait  # noqa: E402
from dawn_model.flow_autoencoder.warping import MotionPyramid, coordinate_grid  # noqa: E402
from dawn_model.paste_back.colour_match import ColourMatch  # noqa: E402
from dawn_model.paste_back.paste import PasteBack, PasteOptions, paste_back  # noqa: E402
from dawn_model.structures import MotionLatents  # noqa: E402

HEIGHT, WIDTH, SIDE, LATENT = 1080, 1920, 128, 32


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="where the result may lie; the system's by default")
    options = parser.parse_args()
    frames = round(options.seconds * 25)
    portrait = large_portrait()
    images, motion = nodding(portrait, frames)
    with tempfile.NamedTemporaryFile(dir=options.folder) as file:
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
    row = [f"{frames}", f"{WIDTH}×{HEIGHT}", f"{out.numel() * 4 / 1e9:.1f} GB"]
    row += [f"{(watch.peak - watch.before) / 1e6:.0f} MB", f"{frames / taken:.1f}"]
    head = ["frames", "picture", "result", "memory beside it", "frames a second"]
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), row]]
    text = "\n".join([f"torch {torch.__version__}, {torch.get_num_threads()} threads", "", *lines]) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "paste_back.md").write_text(text)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
