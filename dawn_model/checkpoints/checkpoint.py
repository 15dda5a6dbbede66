"""Model files: a configuration and the tensors of every network in one safetensors file.

A `Checkpoint` is the same whether it was read from such a file or from the authors' own
(official_checkpoint.py), and so are the networks built from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..config import DawnConfig
from ..model import build_networks
from ..whole_file import whole_file

FORMAT = "dawn-comfyui-1"

EMBEDDED_MODEL = Path(__file__).parents[1] / "assets" / "dawn_nano.safetensors"
"""The model that needs no download; training/README.md says how it was made."""

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


def first_line(error: Exception) -> str:
    """The part of a library's message that fits into ours."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN_PROBLEMS} more" if len(names) > SHOWN_PROBLEMS else ""
    return ", ".join(names[:SHOWN_PROBLEMS]) + more


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
            f"{source_of('denoiser').file}: its configuration makes no network ({first_line(error)})"
        ) from error
    expected = {name: module.state_dict() for name, module in networks.items()}
    strangers = [name for name in checkpoint.tensors if name not in expected]
    if strangers:
        raise CheckpointError(
            f"{source_of(strangers[0]).file} holds networks that do not belong to it: {listed(strangers)}"
        )
    for name, wanted in expected.items():
        source = source_of(name)
        problems = find_problems(checkpoint.tensors.get(name, {}), wanted, source)
        if problems:
            raise CheckpointError(f"{source.file} does not fit the {name} network: {listed(problems)}")


def find_problems(found: Tensors, wanted: Tensors, source: Source) -> list[str]:
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

    Raises ValueError when the file can not be written: then nothing is left of it.
    """
    tensors = {
        f"{network}.{key}": tensor.contiguous().clone()
        for network, state in checkpoint.tensors.items()
        for key, tensor in state.items()
    }
    metadata = {"format": FORMAT, "config": checkpoint.config.to_json()}
    if provenance:
        metadata["provenance"] = json.dumps(dict(provenance), sort_keys=True)
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=metadata)


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
        raise CheckpointError(f"{path.name}: {error}") from error
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
