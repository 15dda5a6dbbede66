"""From a fresh install to a video that plays, as a new user walks, in a real ComfyUI and a real browser.

    COMFYUI_PATH=/path/to/ComfyUI $DAWN_PYTHON tests/walk_fresh_install.py [--shots FOLDER]

Under each folder name, and in each of the browser's two node designs, the files that git knows are copied into a new
base's custom_nodes. ComfyUI shows its template dialog to a new user by itself, and this plugin is chosen in its list.
From there clicks count: the template, Run, play. By hand, because it takes minutes; ends with 1 where anything was
missed. Screenshots lie in FOLDER (default: .dawn/shots/walk).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

from comfy_harness import ServerComfy  # noqa: E402
from comfy_harness.browser import (  # noqa: E402
    choose_plugin,
    chromium,
    make_and_play_a_video,
    open_page,
    use_nodes_2,
)
from comfy_server import ComfyServer  # noqa: E402
from playwright.sync_api import Error as BrowserError  # noqa: E402
from workflow_names import TITLES  # noqa: E402

FOLDERS = ("ComfyUI-DAWN", "my-dawn-nodes-v2", "dawn.talking head")
DESIGNS = {"classic": False, "Nodes 2.0": True}
CLICKS, IMPORT_SECONDS = 3, 0.6
WIDTH, HEIGHT, SECONDS = 512, 512, 207 / 25
"""Of the first template's video."""


def install(folder: Path) -> None:
    """Copy what a `git clone` would bring."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def import_seconds(log: Path, folder: str) -> float:
    """What ComfyUI measured; it writes a tenth of a second at the finest."""
    (found,) = re.findall(
        rf"([\d.]+) seconds: .*/{re.escape(folder)}$", log.read_text(encoding="utf-8"), re.MULTILINE
    )
    return float(found)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def walk(browser: Any, comfy: ServerComfy, folder: str, nodes2: bool, shots: Path) -> list[str]:
    """A row's version, import, clicks and seconds; an AssertionError says what was missed."""
    version = comfy.get("/system_stats")["system"]["comfyui_version"]
    imported = import_seconds(comfy.server.log, folder)
    page = open_page(browser, comfy, newcomer=True)
    use_nodes_2(page, nodes2)
    choose_plugin(page, folder)
    page.wait_for_timeout(2000)  # pictures load
    moments: dict[str, float] = {}

    def after(step: str) -> None:
        moments[step] = time.monotonic()
        page.screenshot(
            path=shots / f"{version} {folder} {'nodes2' if nodes2 else 'classic'} {len(moments)} {step}.png"
        )

    after("dialog")
    before = page.evaluate("window.clicks")
    width, height, seconds = make_and_play_a_video(page, TITLES["dawn_simple"], after)
    clicks = page.evaluate("window.clicks") - before
    page.close()
    made, copied = files_in(comfy.base / "output"), files_in(comfy.base / "input")
    assert imported <= IMPORT_SECONDS, f"the import took {imported} s"
    assert clicks <= CLICKS, f"{clicks} clicks"
    assert (width, height) == (WIDTH, HEIGHT), f"the video is {width} x {height}"
    assert abs(seconds - SECONDS) < 0.05, f"the video takes {seconds} s"
    assert [path.suffix for path in made] == [".mp4"] and made[0].stat().st_size > 10_000, f"made {made}"
    assert not copied, f"copied {copied}"
    return [version, f"{imported:.1f} s", str(clicks), f"{moments['video'] - moments['run']:.1f} s"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shots", type=Path, default=ROOT / ".dawn" / "shots" / "walk")
    shots = parser.parse_args().shots
    shots.mkdir(parents=True, exist_ok=True)
    comfyui, missed = Path(os.environ["COMFYUI_PATH"]).resolve(), 0
    line = "{:20} {:10} {:8} {:8} {:7} {}".format
    print(line("folder", "nodes", "version", "import", "clicks", "Run to video"), flush=True)
    with chromium() as browser:
        for folder in FOLDERS:
            for design, nodes2 in DESIGNS.items():
                with tempfile.TemporaryDirectory() as place:
                    base = Path(place)
                    install(base / "custom_nodes" / folder)
                    with ComfyServer(comfyui, base) as server:
                        try:
                            row = walk(browser, ServerComfy(server), folder, nodes2, shots)
                        except (AssertionError, BrowserError) as error:  # the others are walked all the same
                            missed, row = missed + 1, ["missed:", str(error).splitlines()[0], "", ""]
                    print(line(folder, design, *row), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
