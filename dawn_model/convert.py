"""Turn the authors' files into one safetensors file.

    python -m dawn_model.convert models/dawn/DAWN_128.pth models/dawn/dawn-128.safetensors

The other files that belong to the model are found beside the denoiser. The converted model
gives bit-identical results.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from .checkpoints.checkpoint import CheckpointError, save_checkpoint
from .checkpoints.official import read_official
from .checkpoints.official_files import find_official

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Convert; returns the process exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m dawn_model.convert", description=__doc__)
    parser.add_argument("denoiser", type=Path, help="DAWN_128.pth or DAWN_256.pth")
    parser.add_argument("output", type=Path, help="the safetensors file to write")
    parser.add_argument("--autoencoder", type=Path, help="LFG_*.pth, if it lies elsewhere")
    options = parser.parse_args(arguments)
    if options.output.exists():
        parser.error(f"{options.output} exists; choose another name or remove it first")
    if options.output.suffix != ".safetensors":
        parser.error(f"{options.output}: the name must end in .safetensors")
    if not options.output.parent.is_dir():
        parser.error(f"{options.output.parent} is not a folder")
    try:
        files = find_official(options.denoiser, [options.denoiser.parent], options.autoencoder)
        checkpoint = read_official(files)
    except (CheckpointError, ValueError) as error:
        log.error("%s", error)
        return 1
    used = {"denoiser": files.denoiser, "autoencoder": files.autoencoder}
    used |= {f"motion.{index}": path for index, path in enumerate(files.motion)}
    try:
        save_checkpoint(checkpoint, options.output, {name: path.name for name, path in used.items()})
    except ValueError as error:  # a full disk, a read-only folder
        log.error("%s", error)
        return 1
    log.info("%s written (%.0f MB)", options.output, options.output.stat().st_size / 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
