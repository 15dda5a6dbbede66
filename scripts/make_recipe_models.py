"""Write full-size DAWN and HuBERT files in their authors' formats, with meaningless weights.

    python scripts/make_recipe_models.py MODELS_DIR [--size 128]

The weights follow the deterministic rule of the golden tensors (tests/recipe.py). They serve to run
the real code path where the real files are not at hand: the picture they make is noise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import recipe  # noqa: E402

AUTOENCODER_NAMES = {128: "LFG_128_1000ep.pth", 256: "LFG_256_400ep.pth"}
MOTION_FILES = {
    "pose": ("pbnet_pose", "checkpoint_40000.pth.tar", "transformerreemb6"),
    "blink": ("pbnet_blink", "checkpoint_95000.pth.tar", "transformerreemb5"),
}


def constructed(key: str, shape: tuple[int, ...], buffers: dict[str, Tensor]) -> Tensor:
    """Tensors that no training changes: schedule, rotary frequencies, counters, position codes."""
    last = key.rsplit(".", 1)[-1]
    if last in buffers:
        return buffers[last]
    if last == "freqs":
        return 10000 ** -(torch.arange(shape[0], dtype=torch.float32) / shape[0])
    return torch.zeros(shape, dtype=torch.int64 if last == "num_batches_tracked" else torch.float32)


def official_state(name: str) -> dict[str, Tensor]:
    """All tensors of one official file under their full keys."""
    buffers = load_file(recipe.GOLDEN / "schedule_buffers.safetensors")
    return {
        key: constructed(key, tuple(spec["shape"]), buffers)
        if spec["recipe"] == "constructed"
        else recipe.weight(key, tuple(spec["shape"]))
        for key, spec in recipe.manifest(name).items()
    }


def split_entries(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """{"generator.first.…": t} → {"generator": {"first.…": t}}, as the trainers saved it."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        entry, _, rest = key.partition(".")
        entries.setdefault(entry, {})[rest] = tensor
    return entries


def write_dawn(folder: Path, size: int) -> None:
    """Denoiser, flow autoencoder, pose and blink networks below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    denoiser = {**split_entries(official_state(f"dawn_{size}")), "example": 1000}
    torch.save(denoiser, folder / f"DAWN_{size}.pth")
    autoencoder = {**split_entries(official_state(f"lfg_{size}")), "example": 1000, "epoch": 1}
    torch.save(autoencoder, folder / AUTOENCODER_NAMES[size])
    for part, (manifest, name, archiname) in MOTION_FILES.items():
        target = folder / "pbnet" / part
        target.mkdir(parents=True, exist_ok=True)
        torch.save(official_state(manifest), target / name)
        (target / "opt.yaml").write_text(f"archiname: {archiname}\nmax_distance: 128\nnum_frames: 200\n")


def write_hubert(folder: Path, **sizes: int) -> None:
    """HuBERT-large (or, with `sizes`, a smaller one) with the published recogniser's key names."""
    from transformers import HubertConfig, HubertForCTC

    config = HubertConfig(
        **{
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            **sizes,
        },
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in HubertForCTC(config).state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: recipe.weight(f"hubert|{key}", shape).half() for key, shape in shapes.items()}
    save_file(state, folder / "hubert-large-ls960-ft.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, help="ComfyUI's models folder")
    parser.add_argument("--size", type=int, choices=sorted(AUTOENCODER_NAMES), default=128)
    options = parser.parse_args()
    write_dawn(options.models / "dawn", options.size)
    write_hubert(options.models / "audio_encoders")
    print(f"Wrote full-size DAWN and HuBERT files with meaningless weights below {options.models}.")


if __name__ == "__main__":
    main()
