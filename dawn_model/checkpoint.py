"""Model files: the authors' own, read safely and strictly, and one safetensors per model.

A `Checkpoint` is a configuration and the tensors of every network under our names. However it
was made, the networks built from it are the same.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .config import DawnConfig, DenoiserConfig, FlowAutoencoderConfig, PoseBlinkConfig
from .model import build_networks
from .official_files import OfficialFiles
from .official_keys import KeyTable, apply_table, official_name
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


@dataclass(frozen=True)
class Source:
    """Where the tensors of one network come from, so that an error can speak of the user's file.

    key_in_file: our key → its name in the file; shapes: of the tensors in the file, by that name
    """

    file: str
    key_in_file: Callable[[str], str] = str
    shapes: Mapping[str, torch.Size] | None = None


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
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
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
    """The tensors below a top-level entry, under their full names."""
    tensors = content.get(entry)
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path.name}: entry {entry!r} is missing or holds no named tensors")
    return _tensors({f"{entry}.{key}": value for key, value in tensors.items()}, path)


def _tensors(state: Mapping[str, Any], path: Path) -> Tensors:
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path.name}: expected tensors, but these are none: {_listed(others)}")
    return dict(state)


def _rename(
    state: Tensors, table: KeyTable, path: Path, prefix: str = ""
) -> tuple[Tensors, dict[str, str], Source]:
    """Our tensors, the key in the file behind each, and how to speak of them in an error.

    prefix: of the keys in the file, which the table does not know
    """
    try:
        short = {key.removeprefix(prefix): value for key, value in state.items()}
        tensors, origin, unknown = apply_table(short, table)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    if unknown:
        strangers = _listed([prefix + key for key in unknown])
        raise CheckpointError(f"{path.name} has keys that do not belong to it: {strangers}")

    def key_in_file(key: str) -> str:
        return prefix + (origin.get(key) or official_name(table, key) or key)

    shapes = {key: value.shape for key, value in state.items()}
    return tensors, origin, Source(path.name, key_in_file, shapes)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_PROBLEMS} more" if len(names) > SHOWN_PROBLEMS else ""
    return ", ".join(names[:SHOWN_PROBLEMS]) + more


def read_denoiser(path: Path) -> tuple[Tensors, Source]:
    content = _read_kind(path, "denoiser")
    tensors, _, source = _rename(_entry(content, "diffusion", path), DENOISER_KEYS, path, "diffusion.")
    return tensors, source


def read_autoencoder(path: Path) -> tuple[Tensors, Source]:
    content = _read_kind(path, "autoencoder")
    tensors, origin, source = _rename(_entry(content, "generator", path), FLOW_AUTOENCODER, path)
    try:
        return fuse(tensors, origin), source
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error


def read_pose_blink(path: Path) -> tuple[PoseBlinkConfig, Tensors, Source]:
    name = f"{path.parent.name}/{path.name}"
    state = _tensors(_read_kind(path, "pose-blink"), path)
    try:
        config = pose_blink_config(read_options(path.parent / "opt.yaml"), state)
    except (ValueError, FileNotFoundError) as error:
        raise CheckpointError(f"{name}: {error}") from error
    tensors, _, source = _rename(state, pose_blink_keys(config), path)
    return config, tensors, dataclasses.replace(source, file=name)


def read_official(
    files: OfficialFiles,
    denoiser: DenoiserConfig | None = None,
    autoencoder: FlowAutoencoderConfig | None = None,
) -> Checkpoint:
    """Read the authors' files as downloaded. The sizes are the released ones unless given.

    Raises CheckpointError naming the file and the missing, unknown or misshapen tensors.
    """
    tensors: dict[str, Tensors] = {"box_encoder": load_file(BOX_ENCODER_FILE)}
    sources = {"box_encoder": Source(BOX_ENCODER_FILE.name)}
    motion_configs = []
    for index, path in enumerate(files.motion):
        motion, tensors[f"motion.{index}"], sources[f"motion.{index}"] = read_pose_blink(path)
        motion_configs.append(motion)
    tensors["denoiser"], sources["denoiser"] = read_denoiser(files.denoiser)
    tensors["autoencoder"], sources["autoencoder"] = read_autoencoder(files.autoencoder)
    config = DawnConfig(
        name=f"dawn-{files.image_size}",
        image_size=files.image_size,
        denoiser=denoiser or DenoiserConfig(),
        autoencoder=autoencoder or FlowAutoencoderConfig(),
        motion=tuple(motion_configs),
    )
    checkpoint = Checkpoint(config, tensors)
    verify(checkpoint, sources.__getitem__)
    return checkpoint


def verify(checkpoint: Checkpoint, source_of: Callable[[str], Source]) -> None:
    """Compare every tensor's name and shape with the networks of the configuration.

    source_of: network name → where its tensors come from

    Raises CheckpointError that names the source file of the network at fault.
    """
    try:
        with torch.device("meta"):
            networks = build_networks(checkpoint.config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{source_of('denoiser').file}: its configuration makes no network ({_first_line(error)})"
        ) from error
    expected = {name: module.state_dict() for name, module in networks.items()}
    strangers = [name for name in checkpoint.tensors if name not in expected]
    if strangers:
        raise CheckpointError(
            f"{source_of(strangers[0]).file} holds networks that do not belong to it: {_listed(strangers)}"
        )
    for name, wanted in expected.items():
        source = source_of(name)
        problems = _problems(checkpoint.tensors.get(name, {}), wanted, source)
        if problems:
            raise CheckpointError(f"{source.file} does not fit the {name} network: {_listed(problems)}")


def _problems(found: Tensors, wanted: Tensors, source: Source) -> list[str]:
    """What is wrong with a network's tensors, in the words of the file they come from."""
    named = source.key_in_file
    missing = [f"{named(key)} {list(wanted[key].shape)} is missing" for key in wanted if key not in found]
    unknown = [f"{named(key)} does not belong there" for key in found if key not in wanted]
    others = []
    for key in wanted.keys() & found.keys():
        ours, theirs = list(found[key].shape), list((source.shapes or {}).get(named(key), found[key].shape))
        if ours != list(wanted[key].shape):
            read_as = "" if ours == theirs else f", read as {ours}"
            others.append(f"{named(key)} has shape {theirs}{read_as}, expected {list(wanted[key].shape)}")
        elif not found[key].is_floating_point():
            others.append(f"{named(key)} holds {found[key].dtype}, expected floating-point numbers")
    return [*missing, *unknown, *sorted(others)]


def load_networks(checkpoint: Checkpoint, operations=nn, dtype=None, device=None) -> dict[str, nn.Module]:
    """Networks with the checkpoint's weights, ready for inference."""
    networks = build_networks(checkpoint.config, operations, dtype=dtype, device=device)
    for name, module in networks.items():
        module.load_state_dict(checkpoint.tensors[name], strict=True)
        module.eval().requires_grad_(False)
    return networks


def save_checkpoint(checkpoint: Checkpoint, path: Path, provenance: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file that holds everything inference needs, its configuration included.

    A write that fails half-way leaves nothing under `path`.
    """
    tensors = {
        f"{network}.{key}": tensor.contiguous().clone()
        for network, state in checkpoint.tensors.items()
        for key, tensor in state.items()
    }
    metadata = {"format": FORMAT, "config": checkpoint.config.to_json()}
    if provenance:
        metadata["provenance"] = json.dumps(dict(provenance), sort_keys=True)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
    verify(checkpoint, lambda network: Source(path.name, lambda key: f"{network}.{key}"))
    return checkpoint


def _split_network(full_key: str) -> tuple[str, str]:
    """ "motion.0.output.weight" → ("motion.0", "output.weight"); other networks have no number."""
    head, _, rest = full_key.partition(".")
    if head == "motion":
        number, _, rest = rest.partition(".")
        return f"motion.{number}", rest
    return head, rest
