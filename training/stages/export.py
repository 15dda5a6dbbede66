"""Stage 9: the trained networks → one file in half precision that the plugin loads.

    python -m training.stages.export                       # writes dawn_model/assets/dawn_nano.safetensors

With --keep, stages that have no checkpoint leave their networks as they are in that model file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dawn_model.checkpoints.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from dawn_model.config import DAWN_NANO, DawnConfig

from ..paths import MODEL
from ..speech.whisper_weights import SHA256
from . import train_expression, train_picture, train_pose_blink, train_speech

MOST_BYTES = 24 * 10**6
_NETWORK_OF = {"motion": "motion.0"}
"""Names that cannot be names of PyTorch modules because of their dot."""


def averaged(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Network name → half-precision state dict, of a checkpoint of `progress.py`."""
    networks: dict[str, dict[str, torch.Tensor]] = {}
    saved = torch.load(path, map_location="cpu", weights_only=True)["average"]
    for key, value in train_speech.folded(saved).items():
        network, _, name = key.partition(".")
        networks.setdefault(_NETWORK_OF.get(network, network), {})[name] = value.half()
    return networks


def export(
    checkpoints: list[Path],
    out: Path,
    config: DawnConfig = DAWN_NANO,
    note: str = "",
    keep: Path | None = None,
) -> int:
    """Write the model and read it back. Returns its size in bytes.

    keep: a model file whose networks stay where no checkpoint has them

    Raises ValueError when it is too large, and CheckpointError when a network is missing.
    """
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    if keep is not None:
        kept = read_checkpoint(keep).tensors
        tensors = {name: {key: value.half() for key, value in part.items()} for name, part in kept.items()}
    for path in checkpoints:
        tensors |= averaged(path)
    provenance = {
        "licence": "Apache-2.0",
        "data": "Rendered heads (MakeHuman/MPFB base mesh and face units, CC0); no photograph of a person. Phones of, "
        "and speech from: VCTK, LibriTTS and LibriSpeech (CC BY 4.0), LJ Speech (public domain), CMU ARCTIC "
        "(BSD-like), Common Voice (CC0). Synthetic speech of Kokoro-82M (Apache-2.0), reading The Devil's Dictionary "
        "(public domain). See NOTICE.",
        "speech encoder": "The first layers of OpenAI Whisper tiny.en's encoder (MIT licence, Copyright 2022 OpenAI), "
        f"unchanged but for half precision; from a file of SHA-256 {SHA256}.",
        "method": "training/README.md",
        "note": note,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(Checkpoint(config, tensors), out, provenance)
    read_checkpoint(out)
    size = out.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{out} has {size} bytes, at most {MOST_BYTES} are wanted")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, default=train_picture.CHECKPOINT)
    parser.add_argument("--expression", type=Path, default=train_expression.CHECKPOINT)
    parser.add_argument("--speech", type=Path, default=train_speech.CHECKPOINT)
    parser.add_argument("--pose-blink", type=Path, default=train_pose_blink.CHECKPOINT)
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--note", default="")
    parser.add_argument("--keep", type=Path, help="a model file")
    options = parser.parse_args()
    checkpoints = [options.picture, options.expression, options.speech, options.pose_blink]
    if options.keep:
        checkpoints = [path for path in checkpoints if path.exists()]
    size = export(checkpoints, options.out, note=options.note, keep=options.keep)
    print(f"{options.out}: {size / 10**6:.2f} MB")


if __name__ == "__main__":
    main()
