"""Model files: the authors' own, read safely and strictly, and one safetensors per model.

A `Checkpoint` is a configuration and the tensors of every network under our names. However it
was made, the networks built from it are the same.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .config import DawnConfig, DenoiserConfig, FlowAutoencoderConfig
from .model import build_networks
from .official_files import OfficialFiles
from .official_keys import KeyTable, apply_table
from .official_keys.denoiser import DENOISER_KEYS
from .official_keys.flow_autoencoder import FLOW_AUTOENCODER
from .official_keys.fusing import fuse
from .official_keys.options import read_options
from .official_keys.pose_blink import pose_blink_config, pose_blink_keys

FORMAT = "dawn-comfyui-1"
BOX_ENCODER_FILE = Path(__file__).parent / "assets" / "box_encoder.safetensors"
SHOWN_PROBLEMS = 6

Tensors = dict[str, Tensor]


class CheckpointError(ValueError):
    """A model file that can not be used; the message names the file and says why."""


@dataclass(frozen=True)
class Checkpoint:
    """tensors: network name ("denoiser", "autoencoder", "box_encoder", "motion.0", …) → state dict."""

    config: DawnConfig
    tensors: Mapping[str, Tensors]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in one of the authors' files, its tensors mapped rather than copied.

    Only tensors and plain data are ever constructed; a file that asks for more is refused.
    Raises CheckpointError for anything that is not such a dictionary.
    """
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # written by torch < 1.6
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} is refused: it holds more than tensors and plain data, or is not a "
            f"PyTorch file. Download it again from its authors. ({_first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path.name} can not be read: the file is damaged or its download was cut short. "
            f"Download it again. ({_first_line(error)})"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}, expected named tensors")
    return content


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def kind_of(content: Mapping[str, Any]) -> str:
    """What an official file is: "denoiser", "autoencoder", "pose-blink" or "unknown"."""
    if "diffusion" in content:
        return "denoiser"
    if {"generator", "region_predictor", "bg_predictor"} & content.keys():
        return "autoencoder"
    return "pose-blink" if any(key.startswith("decoder.") for key in content) else "unknown"


_KIND_NAMES = {
    "denoiser": "a DAWN denoiser (DAWN_128.pth or DAWN_256.pth)",
    "autoencoder": "a flow autoencoder (LFG_*.pth)",
    "pose-blink": "a pose or blink network (checkpoint_*.pth.tar)",
    "unknown": "none of the DAWN files",
}


def _read_kind(path: Path, kind: str) -> dict[str, Any]:
    content = read_pickle(path)
    found = kind_of(content)
    if found != kind:
        entries = ", ".join(list(content)[:4]) or "nothing"
        raise CheckpointError(
            f"{path.name} is {_KIND_NAMES[found]}, expected {_KIND_NAMES[kind]}. It holds: {entries}"
        )
    return content


def _entry(content: Mapping[str, Any], entry: str, path: Path) -> Tensors:
    tensors = content.get(entry)
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise CheckpointError(f"{path.name}: entry {entry!r} is missing or holds no named tensors")
    return tensors


def _rename(state: Mapping[str, Tensor], table: KeyTable, path: Path) -> tuple[Tensors, dict[str, str]]:
    try:
        tensors, origin, unknown = apply_table(state, table)
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(f"{path.name}: a tensor has an unexpected shape ({error})") from error
    if unknown:
        raise CheckpointError(f"{path.name} has keys that do not belong to it: {_listed(unknown)}")
    return tensors, origin


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_PROBLEMS} more" if len(names) > SHOWN_PROBLEMS else ""
    return ", ".join(names[:SHOWN_PROBLEMS]) + more


def read_denoiser(path: Path) -> Tensors:
    content = _read_kind(path, "denoiser")
    return _rename(_entry(content, "diffusion", path), DENOISER_KEYS, path)[0]


def read_autoencoder(path: Path) -> Tensors:
    content = _read_kind(path, "autoencoder")
    state = {f"generator.{key}": value for key, value in _entry(content, "generator", path).items()}
    tensors, origin = _rename(state, FLOW_AUTOENCODER, path)
    try:
        return fuse(tensors, origin)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error


def read_official(
    files: OfficialFiles,
    denoiser: DenoiserConfig | None = None,
    autoencoder: FlowAutoencoderConfig | None = None,
) -> Checkpoint:
    """Read the authors' files as downloaded. The sizes are the released ones unless given.

    Raises CheckpointError naming the file and the missing, unknown or misshapen tensors.
    """
    motion_configs, tensors = [], {}
    for index, path in enumerate(files.motion):
        state = _read_kind(path, "pose-blink")
        try:
            config = pose_blink_config(read_options(path.parent / "opt.yaml"), state)
        except (ValueError, FileNotFoundError) as error:
            raise CheckpointError(f"{path.parent.name}/{path.name}: {error}") from error
        motion_configs.append(config)
        tensors[f"motion.{index}"] = _rename(state, pose_blink_keys(config), path)[0]
    tensors["denoiser"] = read_denoiser(files.denoiser)
    tensors["autoencoder"] = read_autoencoder(files.autoencoder)
    tensors["box_encoder"] = load_file(BOX_ENCODER_FILE)
    config = DawnConfig(
        name=f"dawn-{files.image_size}",
        image_size=files.image_size,
        denoiser=denoiser or DenoiserConfig(),
        autoencoder=autoencoder or FlowAutoencoderConfig(),
        motion=tuple(motion_configs),
    )
    sources = {"denoiser": files.denoiser.name, "autoencoder": files.autoencoder.name}
    sources |= {f"motion.{i}": f"{path.parent.name}/{path.name}" for i, path in enumerate(files.motion)}
    checkpoint = Checkpoint(config, tensors)
    verify(checkpoint, sources)
    return checkpoint


def verify(checkpoint: Checkpoint, sources: Mapping[str, str]) -> None:
    """Compare every tensor's name and shape with the networks of the configuration.

    Raises CheckpointError that names the source file of the network at fault.
    """
    with torch.device("meta"):
        networks = build_networks(checkpoint.config)
    expected = {name: module.state_dict() for name, module in networks.items()}
    strangers = [name for name in checkpoint.tensors if name not in expected]
    if strangers:
        raise CheckpointError(f"{sources[strangers[0]]} holds networks that do not belong to it: {strangers}")
    for name, wanted in expected.items():
        found = checkpoint.tensors.get(name, {})
        problems = [f"missing {key} {list(wanted[key].shape)}" for key in wanted if key not in found]
        problems += [f"unknown {key}" for key in found if key not in wanted]
        problems += [
            f"{key} has shape {list(found[key].shape)}, expected {list(wanted[key].shape)}"
            for key in wanted
            if key in found and found[key].shape != wanted[key].shape
        ]
        if problems:
            raise CheckpointError(
                f"{sources.get(name, name)} does not fit the {name} network: {_listed(problems)}"
            )


def load_networks(checkpoint: Checkpoint, operations=nn, dtype=None, device=None) -> dict[str, nn.Module]:
    """Networks with the checkpoint's weights, ready for inference."""
    networks = build_networks(checkpoint.config, operations, dtype=dtype, device=device)
    for name, module in networks.items():
        module.load_state_dict(checkpoint.tensors[name], strict=True)
        module.eval().requires_grad_(False)
    return networks


def save_checkpoint(checkpoint: Checkpoint, path: Path, provenance: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file that holds everything inference needs, its configuration included."""
    tensors = {
        f"{network}.{key}": tensor.contiguous().clone()
        for network, state in checkpoint.tensors.items()
        for key, tensor in state.items()
    }
    metadata = {"format": FORMAT, "config": checkpoint.config.to_json()}
    if provenance:
        metadata["provenance"] = json.dumps(dict(provenance), sort_keys=True)
    save_file(tensors, path, metadata=metadata)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one of our own files.

    Raises CheckpointError when it is damaged, of another kind, or does not fit its configuration.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path.name} is not a DAWN model file of this plugin (format {FORMAT}). Convert the "
                    "authors' files with `python -m dawn_model.convert`, or select one of them"
                )
            tensors: dict[str, Tensors] = {}
            for full_key in file.keys():  # noqa: SIM118 - not a dictionary
                network, key = _split_network(full_key)
                tensors.setdefault(network, {})[key] = file.get_tensor(full_key)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path.name} can not be read: the file is damaged or its download was cut short ({error})"
        ) from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    try:
        config = DawnConfig.from_json(metadata.get("config", ""))
    except ValueError as error:
        raise CheckpointError(
            f"{path.name}: {error}. Was it made by a newer version of the plugin?"
        ) from error
    checkpoint = Checkpoint(config, tensors)
    verify(checkpoint, dict.fromkeys(tensors, path.name))
    return checkpoint


def _split_network(full_key: str) -> tuple[str, str]:
    """ "motion.0.output.weight" → ("motion.0", "output.weight"); other networks have no number."""
    head, _, rest = full_key.partition(".")
    if head == "motion":
        number, _, rest = rest.partition(".")
        return f"motion.{number}", rest
    return head, rest
