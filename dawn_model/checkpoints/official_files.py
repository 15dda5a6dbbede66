"""Finding the authors' files, which are several per model, from the one that the user names.

The denoisers and flow autoencoders of both resolutions have the same tensors; only the file
names tell 128 from 256.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESOLUTIONS = (128, 256)


@dataclass(frozen=True)
class OfficialFiles:
    """One model as downloaded. motion: one joint pose/blink checkpoint, or pose and blink."""

    denoiser: Path
    autoencoder: Path
    motion: tuple[Path, ...]
    image_size: int

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that is read, options included."""
        return (
            self.denoiser,
            self.autoencoder,
            *self.motion,
            *(path.parent / "opt.yaml" for path in self.motion),
        )


def resolution_of(path: Path) -> int:
    """128 or 256, from the file name.

    Raises ValueError when the name holds neither or both.
    """
    found = [size for size in RESOLUTIONS if re.search(rf"(?<!\d){size}(?!\d)", path.name)]
    if len(found) != 1:
        raise ValueError(
            f"{path.name}: the name must say the resolution, as in DAWN_128.pth or LFG_256_400ep.pth; "
            "the tensors of both are alike"
        )
    return found[0]


def find_official(denoiser: Path, roots: Sequence[Path], autoencoder: Path | None = None) -> OfficialFiles:
    """The files that belong to a denoiser, looked for below its own folder and then below `roots`.

    `autoencoder` overrides the search. Raises ValueError that names what is missing and where it
    may lie, or the two resolutions when denoiser and autoencoder do not belong together.
    """
    size = resolution_of(denoiser)
    folders = [denoiser.parent, *roots]
    if autoencoder is None:
        autoencoder = _first(folders, f"LFG_{size}*.pth")
        if autoencoder is None:
            other = _first(folders, "LFG_*.pth")
            hint = f"; {other.name} is for another resolution" if other else ""
            raise ValueError(
                f"{denoiser.name} needs its flow autoencoder, LFG_{size}_….pth, beside it in {denoiser.parent}{hint}"
            )
    elif resolution_of(autoencoder) != size:
        raise ValueError(
            f"{denoiser.name} is for {size} px and {autoencoder.name} for {resolution_of(autoencoder)} px. "
            "Choose two files of the same resolution"
        )
    return OfficialFiles(denoiser, autoencoder, _find_motion(denoiser, folders), size)


def _find_motion(denoiser: Path, folders: Sequence[Path]) -> tuple[Path, ...]:
    pose = _first(folders, "pbnet*/pose/checkpoint_*.pth.tar")
    blink = _first(folders, "pbnet*/blink/checkpoint_*.pth.tar")
    if pose and blink:
        return pose, blink
    joint = _first(folders, "pbnet*/checkpoint_*.pth.tar")
    if joint:
        return (joint,)
    missing = "blink" if pose else "pose" if blink else "pose and blink"
    raise ValueError(
        f"{denoiser.name} needs the {missing} network: put the download's folder pbnet (with "
        f"pose/checkpoint_….pth.tar, blink/checkpoint_….pth.tar and an opt.yaml beside each) in {denoiser.parent}"
    )


def _first(folders: Sequence[Path], pattern: str) -> Path | None:
    """The first match below the folders; within one, the shallowest and last in the alphabet
    (the highest checkpoint number)."""
    for folder in folders:
        matches = sorted(folder.rglob(pattern), key=lambda path: (-len(path.parts), path.name))
        if matches:
            return matches[-1]
    return None
