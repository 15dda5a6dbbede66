"""Documents keep up with the code that they speak of."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_picture_of_the_packages_is_of_today():
    path = ROOT / "scripts" / "draw_architecture.py"
    spec = importlib.util.spec_from_file_location("draw_architecture", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == script.page_with(script.drawing()), "run python scripts/draw_architecture.py"
    assert page.count(" --> ") > 20


def test_cited_headings_exist():
    headings = set(
        re.findall(r"^#+ (.+)$", (ROOT / "docs" / "model.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    cited = {}
    for folder in ("dawn_model", "nodes", "tests", "benchmarks", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            for heading in re.findall(r'docs/model\.md,\s+"([^"]+)"', path.read_text(encoding="utf-8")):
                cited[heading] = path
    assert len(cited) > 8
    assert {heading: str(path) for heading, path in cited.items() if heading not in headings} == {}


def test_paths_in_the_guide_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py|\.md))`", text)
    assert len(paths) > 15
    missing = [
        path for path in paths if not any((ROOT / base / path).exists() for base in ("", "dawn_model"))
    ]
    assert missing == []
