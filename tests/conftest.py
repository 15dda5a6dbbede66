"""Makes `dawn_model` and `training` importable without putting the repository on `sys.path`.

On `sys.path` our `nodes/` package and ComfyUI's `nodes.py` would hide each other.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
PROBE_PLUGIN = ROOT / "tests" / "comfy_harness" / "probe_plugin"
GOLDEN = ROOT / "tests" / "golden"


def _register_package(name: str) -> None:
    folder = ROOT / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
for package in ("dawn_model", "training"):
    _register_package(package)
sys.path.append(str(ROOT / "scripts"))


class _RootIsAFolder:
    """pytest would otherwise import the plugin's own `__init__.py` before every test."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_RootIsAFolder(), "root-is-a-folder")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def golden():
    """golden("unet") → the tensors of that reference file."""
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"comfy", "comfy_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("comfy")


def _comfyui() -> Path:
    """The ComfyUI to test in. scripts/test.sh always names one, so nothing is skipped there."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip("COMFYUI_PATH names no ComfyUI; `bash scripts/test.sh` brings one")
    if not Path(path, "main.py").is_file():
        pytest.fail(f"COMFYUI_PATH={path} is not a ComfyUI checkout")
    return Path(path).resolve()


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory):
    """A real ComfyUI in this process, with this plugin loaded: see comfy_harness/in_process.py."""
    comfyui = _comfyui()
    from comfy_harness import InProcessComfy

    comfy = InProcessComfy(comfyui, tmp_path_factory.mktemp("comfy"))
    comfy.load_plugin(PROBE_PLUGIN)
    comfy.plugin = comfy.load_plugin(ROOT)
    return comfy


@pytest.fixture(scope="session")
def comfy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A real ComfyUI server in a process of its own, with this plugin: see comfy_harness/server.py."""
    comfyui = _comfyui()
    from comfy_harness import ServerComfy
    from comfy_server import ComfyServer

    with ComfyServer(
        comfyui, tmp_path_factory.mktemp("comfy_server"), plugins=[ROOT, PROBE_PLUGIN]
    ) as server:
        yield ServerComfy(server)
