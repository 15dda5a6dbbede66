"""Runs ComfyUI's `main.py`, but only for as long as the process that started it lives.

Tests and demo start ComfyUI through this, so that no server stays behind however they end. Its standard input
has to be a pipe from the parent, which the parent keeps open.

    COMFYUI_PATH=/path/to/ComfyUI python scripts/comfy_launcher.py --cpu --port 8188
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path


def stop_with_parent() -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    comfyui = Path(os.environ["COMFYUI_PATH"]).resolve()
    stop_with_parent()
    # As `python main.py` would have it: ComfyUI's folder first, this script's folder nowhere.
    sys.path[0] = str(comfyui)
    sys.argv[0] = str(comfyui / "main.py")
    os.chdir(comfyui)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
