"""Reading the authors' `opt.yaml` as data, whatever it asks a YAML loader to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 15
"""The authors' files have some fifty lines; eight times as much keeps the reader busy for a second."""


class _DataLoader(yaml.SafeLoader):
    """Constructs only plain Python data.

    `!!python/…` tags keep the text, list or mapping they stand before: nothing is imported
    or called. Merge keys are refused, because a few of them can multiply without bound.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):  # a few of them can multiply without bound
            raise yaml.composer.ComposerError(
                None, None, "aliases are not supported", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "merge keys are not supported", node.start_mark
            )


def _as_data(loader: _DataLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_DataLoader.add_multi_constructor("tag:yaml.org,2002:python/", _as_data)


def read_options(path: Path | str) -> dict[str, Any]:
    """The mapping in an `opt.yaml`.

    Raises FileNotFoundError when it is missing and ValueError when it is too large, not
    YAML, empty or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the pose and blink checkpoints only work with the opt.yaml "
            "that lies beside them in the download"
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; an options file has at most {MAX_BYTES}")
    try:
        options = _DataLoader(path.read_bytes()).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable YAML file: {error}") from error
    if options is None:
        raise ValueError(f"{path} is empty")
    if not isinstance(options, dict):
        raise ValueError(f"{path} holds a {type(options).__name__}, expected a mapping of options")
    return options
