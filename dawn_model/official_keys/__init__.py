"""How the authors' tensor names become ours: one table per network, one way to apply them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..hardware.out_of_memory import is_out_of_memory

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rename:
    """One line of a table: a regular expression for the authors' whole key, our key
    (a `re.sub` replacement), and what to do with the tensor on the way."""

    official: str
    ours: str
    transform: Transform | None = None


@dataclass(frozen=True)
class KeyTable:
    """`renames` are all applied that match (one tensor may feed two of ours);
    keys matching `dropped` are known and not needed for inference."""

    renames: tuple[Rename, ...]
    dropped: tuple[str, ...] = ()


def apply_table(
    state: Mapping[str, Tensor], table: KeyTable
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Rename a state dict.

    Returns our tensors, the official name behind each of our keys, and the official keys
    that no line of the table knows.

    Raises ValueError naming a tensor that has too few axes to be what its name says.
    """
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unknown: list[str] = []
    for key, tensor in state.items():
        matched = False
        for rename in table.renames:
            if re.fullmatch(rename.official, key):
                target = re.sub(rename.official, rename.ours, key)
                try:
                    ours[target] = rename.transform(tensor) if rename.transform else tensor
                except (IndexError, RuntimeError, ValueError) as error:
                    if is_out_of_memory(error):
                        raise
                    raise ValueError(f"{key} has the unexpected shape {list(tensor.shape)}") from error
                origin[target] = key
                matched = True
        if not matched and not any(re.fullmatch(pattern, key) for pattern in table.dropped):
            unknown.append(key)
    return ours, origin, unknown
