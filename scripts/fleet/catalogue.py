"""What a ComfyUI says of its nodes in /object_info: which inputs they have, and what may stand in them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

_UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True)
class Input:
    """kind: as the server names it (INT, FLOAT, BOOLEAN, STRING, COMBO, or a socket's); choices: of a COMBO."""

    kind: str
    options: dict[str, Any]
    choices: tuple[Any, ...] = ()

    @property
    def takes_file(self) -> bool:
        """Whether the browser has an upload button there."""
        return any(self.options.get(key) for key in _UPLOADS)

    @property
    def is_socket(self) -> bool:
        return self.kind not in ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO") and "_COMBO" not in self.kind

    def read(self, value: Any) -> Any:
        """The value of a table's cell, as the server wants it. Raises ValueError that says what would fit."""
        if self.kind in ("INT", "FLOAT"):
            return self._number(value)
        if self.kind == "BOOLEAN":
            text = str(value).strip().lower()
            if text not in _TRUE | _FALSE:
                raise ValueError(f"{value!r} is neither true nor false")
            return text in _TRUE
        if self.kind == "COMBO" and self.choices:
            for choice in self.choices:
                if choice == value or str(choice) == str(value):
                    return choice
            shown = ", ".join(map(str, self.choices[:12])) + (", …" if len(self.choices) > 12 else "")
            raise ValueError(f"{value!r} is no choice; choose one of {shown}")
        return value if isinstance(value, str) else str(value) if self.kind == "STRING" else value

    def _number(self, value: Any) -> int | float:
        kind = int if self.kind == "INT" else float
        try:
            number = kind(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is no {'whole ' if kind is int else ''}number") from None
        if not math.isfinite(number) or (kind is int and isinstance(value, float) and number != value):
            raise ValueError(f"{value!r} is no {'whole ' if kind is int else ''}number")
        low, high = self.options.get("min", -math.inf), self.options.get("max", math.inf)
        if not low <= number <= high:
            raise ValueError(f"{number} lies outside {low} to {high}")
        return number


class Catalogue:
    """The classes of nodes that a workflow uses, as one server has them. outputs: those that end a workflow."""

    def __init__(self, object_info: dict[str, Any]) -> None:
        self.outputs = {name for name, info in object_info.items() if info.get("output_node")}
        self._inputs: dict[str, dict[str, Input]] = {}
        for name, info in object_info.items():
            groups = info.get("input", {})
            self._inputs[name] = {
                key: _input(entry)
                for group in ("required", "optional")
                for key, entry in groups.get(group, {}).items()
            }

    def __contains__(self, class_type: str) -> bool:
        return class_type in self._inputs

    def inputs(self, class_type: str) -> dict[str, Input]:
        return self._inputs[class_type]


def definition(info: dict[str, Any]) -> str:
    """A node's /object_info as text that two servers share exactly when they have the same node.

    Lists of files are left out: they differ without the node being another one.
    """
    inputs = {
        group: {key: _input(entry).kind for key, entry in entries.items()}
        for group, entries in info.get("input", {}).items()
        if group in ("required", "optional")
    }
    return json.dumps(
        [inputs, info.get("output"), info.get("description"), info.get("display_name")], sort_keys=True
    )


def _input(entry: Any) -> Input:
    kind, options = entry[0], entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}
    if isinstance(kind, list):
        return Input("COMBO", options, tuple(kind))
    if kind == "COMBO":
        return Input(kind, options, tuple(options.get("options", ())))
    return Input(str(kind), options)
