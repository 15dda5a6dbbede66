"""Stage 3: renders the training clips, one file each, the same for the same seeds on every machine.

    python -m training.clips.make_dataset --clips 1500 --workers 16

Can be stopped and started again: clips that are there are not made anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from ..paths import CLIPS

_maker = None


def _start(frames: int) -> None:
    global _maker
    from .clips import ClipMaker

    _maker = ClipMaker(frames)


def _make(job: tuple[int, Path]) -> bool:
    seed, path = job
    clip = _maker.make(seed)
    if clip is None:
        return False
    unfinished = path.with_suffix(".tmp.npz")
    np.savez(unfinished, **clip)
    os.replace(unfinished, path)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--first-seed", type=int, default=0, help="evaluation uses seeds from 10**6 on")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=CLIPS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + options.clips)
    jobs = [(seed, options.out / f"{seed:07d}.npz") for seed in seeds]
    jobs = [job for job in jobs if not job[1].exists()]
    begun, made = time.time(), 0
    with multiprocessing.get_context("spawn").Pool(options.workers, _start, (options.frames,)) as pool:
        for count, done in enumerate(pool.imap_unordered(_make, jobs), start=1):
            made += done
            if count % 50 == 0 or count == len(jobs):
                print(f"{made} of {count} clips, {time.time() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
