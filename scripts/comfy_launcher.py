"""Starts ComfyUI's `main.py` in an environment where torch may be a CPU build.

The package index has torchvision only as built for CUDA, and ComfyUI imports it. Beside a CPU torch its
compiled operators do not load, and importing it then fails on the operators' missing names. ComfyUI itself
calls none of them on our paths, so giving torch the bare names is enough. Test and demo use only: a user's
ComfyUI is started as always.

    COMFYUI_PATH=/path/to/ComfyUI python scripts/comfy_launcher.py --cpu --port 8188
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import sys
import threading
from importlib.metadata import version
from pathlib import Path


def define_missing_torchvision_operators() -> None:
    """Make `import torchvision` work beside a CPU torch; does nothing where its compiled operators load."""
    if "+cpu" not in version("torch"):
        return  # and torch stays unimported: ComfyUI sets environment variables that CUDA reads at import
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("ComfyUI needs torchvision; scripts/setup_env.sh installs it")
    folder = Path(spec.origin).parent
    for library in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(str(library))
            return
        except OSError:  # built against a torch with CUDA
            continue
    source = (folder / "_meta_registrations.py").read_text(encoding="utf-8")
    names = re.findall(r'(?:register_fake\("torchvision::|register_meta\(")(\w+)"', source)
    # Operators live as long as the library object that defined them.
    define_missing_torchvision_operators.library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(names)):
        define_missing_torchvision_operators.library.define(f"{name}(Tensor x) -> Tensor")


def stop_with_parent() -> None:
    """End this process when the one that started it is gone, however it ended: stdin is a pipe from it."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    if os.environ.get("DAWN_STOP_WITH_PARENT"):
        stop_with_parent()
    comfyui = Path(os.environ["COMFYUI_PATH"]).resolve()
    define_missing_torchvision_operators()
    # As `python main.py` would have it: ComfyUI's folder first, this script's folder nowhere.
    sys.path[0] = str(comfyui)
    sys.argv[0] = str(comfyui / "main.py")
    os.chdir(comfyui)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
