#!/usr/bin/env python3
"""The texts of our nodes in the form of ComfyUI's translations, from a running server: what locales/ and web/docs/
follow.

    python scripts/node_texts.py [--server http://127.0.0.1:8188] > nodeDefs.json

With --update, the tables of inputs and outputs in web/docs/*.md are written anew; the words around them stay.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

HELP = Path(__file__).resolve().parents[1] / "web" / "docs"
_SECTION = re.compile(r"## Inputs\n.*?(?=\n## (?!Outputs)|\Z)", re.DOTALL)


def texts_of(info: dict[str, Any]) -> dict[str, Any]:
    """An entry of /object_info → its texts, as an entry of nodeDefs.json."""
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    options_of = {name: entry[1] if len(entry) > 1 else {} for name, entry in inputs.items()}
    tooltips = info.get("output_tooltips") or [None] * len(info["output_name"])
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {
            name: {
                "name": (options.get("display_name") or name).replace("_", " "),
                "tooltip": options.get("tooltip"),
            }
            for name, options in options_of.items()
        },
        "outputs": {
            str(number): {"name": name, "tooltip": tooltip}
            for number, (name, tooltip) in enumerate(zip(info["output_name"], tooltips, strict=True))
        },
    }


def tables(texts: dict[str, Any]) -> str:
    """Inputs and outputs of a node as Markdown."""
    parts = []
    for title, sockets in (("Inputs", texts["inputs"]), ("Outputs", texts["outputs"])):
        rows = [f"- **{socket['name']}**: {socket['tooltip']}" for socket in sockets.values()]
        parts.append(f"## {title}\n\n" + ("\n".join(rows) or "None."))
    return "\n\n".join(parts) + "\n"


def help_page(page: str, texts: dict[str, Any]) -> str:
    """The page with today's tables."""
    return _SECTION.sub(lambda _: tables(texts), page, count=1)


def ours(object_info: dict[str, Any]) -> dict[str, Any]:
    return {name: texts_of(info) for name, info in sorted(object_info.items()) if name.startswith("Dawn")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    with urllib.request.urlopen(f"{options.server}/object_info") as answer:
        nodes = ours(json.load(answer))
    if not options.update:
        print(json.dumps(nodes, indent=2, ensure_ascii=False))
        return
    for name, texts in nodes.items():
        path = HELP / f"{name}.md"
        path.write_text(help_page(path.read_text(encoding="utf-8"), texts), encoding="utf-8")


if __name__ == "__main__":
    main()
