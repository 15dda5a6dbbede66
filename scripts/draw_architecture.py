"""Draws the packages of `dawn_model` and who imports whom, from the source, into docs/architecture.md.

python scripts/draw_architecture.py            # rewrites the picture between its two markers
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by scripts/draw_architecture.py -->", "<!-- end of the drawing -->"
BASEMENT = ("config", "structures")
"""Imported by everything: drawn without arrows."""


def room_of(parts: tuple[str, ...]) -> str:
    """("dawn_model", "face", "crop") → "face"; everything in nodes/ is one room."""
    return "nodes" if parts[0] == "nodes" else parts[1].removesuffix(".py")


def arrows() -> Counter[tuple[str, str]]:
    """(importing room, imported room) → in how many files."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted([*(ROOT / "dawn_model").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]):
        package = path.relative_to(ROOT).parent.parts
        room = room_of(path.relative_to(ROOT).parts)
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                names = [node.module.split(".")] if node.module else [[alias.name] for alias in node.names]
                targets = [(*base, *name) for name in names]
                imported |= {room_of(target) for target in targets if len(target) > 1}
        found.update((room, other) for other in imported if other != room and room != "__init__")
    return found


def drawing() -> str:
    """A Mermaid diagram; packages are boxes, single modules are rounded."""
    pairs = arrows()
    rooms = sorted({room for pair in pairs for room in pair} - set(BASEMENT))
    lines = ["```mermaid", "flowchart TD"]
    for room in rooms:
        package = room == "nodes" or (ROOT / "dawn_model" / room).is_dir()
        lines.append(f'    {room}["{room}/"]' if package else f"    {room}({room}.py)")
    lines += [f"    {a} --> {b}" for a, b in sorted(pairs) if a not in BASEMENT and b not in BASEMENT]
    return "\n".join([*lines, "```"])


def page_with(picture: str) -> str:
    """The page with the picture between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{picture}\n{END}", text)


if __name__ == "__main__":
    PAGE.write_text(page_with(drawing()), encoding="utf-8")
