"""A headless ComfyUI that runs for as long as a `with` block: the demo and the tests use it.

To try this plugin by hand in the environment of setup_env.sh, until Ctrl-C:

    bash -c 'source scripts/setup_env.sh && $DAWN_PYTHON scripts/comfy_server.py [ComfyUI arguments]'
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

LAUNCHER = Path(__file__).with_name("comfy_launcher.py")
START_SECONDS = 180  # a cold disk and two slow cores take about 30


class ComfyServerError(RuntimeError):
    """ComfyUI did not start or stopped by itself; the message ends with its log."""


class ComfyServer:
    """ComfyUI as a subprocess on a free port of this machine, with a base directory of its own.

    `base` receives ComfyUI's folders (models, input, output, user, custom_nodes) and `comfyui.log`.
    Each folder in `plugins` is linked into its custom_nodes. `models`, if given, is used as its folder of models.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        plugins: Iterable[Path] = (),
        arguments: Iterable[str] = ("--cpu",),
        models: Path | None = None,
    ) -> None:
        self.comfyui = comfyui
        self.base = base
        self.plugins = [plugin.resolve() for plugin in plugins]
        self.arguments = list(arguments)
        self.models = models
        self.log = base / "comfyui.log"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ComfyServer:
        self._make_folders()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCHER), *self._command_line(port)],
                env={**os.environ, "COMFYUI_PATH": str(self.comfyui), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,  # kept open and never written: its end tells of ours
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:  # Ctrl-C too must not leave a server behind
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log_tail(self, lines: int = 60) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _make_folders(self) -> None:
        if self.models is not None and not (self.base / "models").exists():
            self.base.mkdir(parents=True, exist_ok=True)
            (self.base / "models").symlink_to(self.models.resolve(), target_is_directory=True)
        for name in ("custom_nodes", "input", "models", "output", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for plugin in self.plugins:
            link = self.base / "custom_nodes" / plugin.name
            if not link.exists():
                link.symlink_to(plugin, target_is_directory=True)

    def _command_line(self, port: int) -> list[str]:
        database = self.base.resolve() / "user" / "comfyui.db"
        return [
            *("--listen", "127.0.0.1"),
            *("--port", str(port)),
            *("--base-directory", str(self.base.resolve())),
            *("--database-url", f"sqlite:///{database}"),  # else it writes into the ComfyUI folder
            "--disable-api-nodes",
            "--disable-auto-launch",
            *self.arguments,
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ComfyServerError(
                    f"ComfyUI stopped with exit code {self.process.returncode}; its log:\n{self.log_tail()}"
                )
            try:
                with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.2)
        raise ComfyServerError(f"ComfyUI was not ready after {START_SECONDS} s; its log:\n{self.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    """Serve this repository's nodes from a folder in .dawn/server; further arguments go to ComfyUI."""
    root = Path(__file__).resolve().parents[1]
    comfyui = Path(os.environ["COMFYUI_PATH"])
    base = root / ".dawn" / "server" / comfyui.name
    with ComfyServer(comfyui, base, [root], sys.argv[1:] or ["--cpu"]) as server:
        print(f"{server.url}\nlog: {server.log}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


if __name__ == "__main__":
    main()
