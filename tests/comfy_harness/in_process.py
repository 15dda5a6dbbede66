"""ComfyUI inside the test process: starts once in seconds, runs a prompt in milliseconds, shows tensors."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .results import Progress, Prompt, PromptRejected, Run, raise_if_failed

CLIENT = "tests"


class InProcessComfy:
    """One per process, because ComfyUI keeps its state in modules.

    Everything of ComfyUI is imported here and not at the top: its arguments have to be set first.
    """

    def __init__(self, comfyui: Path, base: Path) -> None:
        self.base = base
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        # ComfyUI's modules are top-level names ("nodes", "execution"); it must come before all else.
        sys.path.insert(0, str(comfyui))
        from comfy.cli_args import args  # does not read the command line unless told to

        args.cpu = True
        args.base_directory = str(base)

        # As in main.py, before `nodes` puts ComfyUI's comfy/ folder, and so another `utils`, on the path.
        import utils.extra_config  # noqa: F401

        import execution  # isort: skip
        import nodes  # isort: skip

        self.nodes = nodes
        self.server = _recording_server()
        self.executor = execution.PromptExecutor(
            self.server,
            cache_type=execution.CacheType.CLASSIC,
            cache_args={"lru": 0, "ram": 0, "ram_inactive": 0},  # versions differ in what they read
        )
        asyncio.run(nodes.init_public_apis())
        asyncio.run(nodes.init_builtin_extra_nodes())

    def load_plugin(self, folder: Path) -> Any:
        """Load a custom node package as ComfyUI does and return its module.

        Where ComfyUI only warns and goes on without the nodes, this raises.
        """
        known = set(self.nodes.NODE_CLASS_MAPPINGS)
        with _CapturedLog() as log:
            loaded = asyncio.run(
                self.nodes.load_custom_node(str(folder), known, module_parent="custom_nodes")
            )
        module = sys.modules.get(str(folder).replace(".", "_x_"))
        if not loaded:
            if hasattr(module, "comfy_entrypoint"):
                asyncio.run(_call_entrypoint(module))  # raises what ComfyUI's log shortens to one line
            raise ImportError(f"ComfyUI could not load {folder}:\n{log.text}")
        return module

    def node_class(self, node_id: str) -> type:
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]

    def run(self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None) -> Run:
        """Run to the end, or raise PromptRejected, NodeFailed or Interrupted.

        Outputs stay cached from one run to the next, as in the application; `forget()` drops them.
        `on_progress` is called on each step; call `interrupt()` in it to cancel.
        """
        import execution

        prompt = json.loads(json.dumps(prompt))  # validation writes into it
        prompt_id = str(uuid.uuid4())
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
        if not valid or node_errors:
            raise PromptRejected(error, node_errors)
        run = Run()
        self.server.events.clear()
        self._follow_progress(run, on_progress)
        self.executor.execute(prompt, prompt_id, {"client_id": CLIENT}, outputs)
        raise_if_failed(self.executor.status_messages)

        messages = dict(self.executor.status_messages)
        run.cached = list(messages["execution_cached"]["nodes"])
        started = [data["node"] for event, data in self.server.events if event == "executing"]
        run.executed = [node for node in started if node is not None]
        run.ui = self.executor.history_result["outputs"]
        run.outputs = asyncio.run(self._socket_values(prompt))
        return run

    def interrupt(self) -> None:
        self.nodes.interrupt_processing()

    def forget(self) -> None:
        """Drop all cached outputs and loaded models, so that the next run starts from nothing."""
        import comfy.model_management
        import comfy.utils

        self.executor.reset()
        comfy.model_management.unload_all_models()
        comfy.utils.set_progress_bar_global_hook(None)  # it holds the last run

    def _follow_progress(self, run: Run, on_progress: Callable[[Progress], None] | None) -> None:
        """Install the hook that ComfyUI's main.py installs: it shows progress and makes cancelling work."""
        import comfy.model_management
        import comfy.utils
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        def hook(
            value: float, total: float, preview: Any, prompt_id: str | None = None, node_id: str | None = None
        ) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            node = node_id or get_executing_context().node_id
            get_progress_state().update_progress(node, value, total, preview)
            run.progress.append(Progress(node, value, total))
            if preview is not None:
                run.previews.append((node, preview[1]))
            if on_progress is not None:
                on_progress(run.progress[-1])

        comfy.utils.set_progress_bar_global_hook(hook)

    async def _socket_values(self, prompt: Prompt) -> dict[str, list[list[Any]]]:
        values = {}
        for node in prompt:
            entry = self.executor.caches.outputs.get(node)
            if inspect.isawaitable(entry):  # since 0.4
                entry = await entry
            if entry is not None:
                values[node] = entry.outputs
        return values


async def _call_entrypoint(module: Any) -> None:
    extension = module.comfy_entrypoint()
    extension = await extension if inspect.isawaitable(extension) else extension
    for node in await extension.get_node_list():
        node.GET_SCHEMA()


def _recording_server() -> Any:
    """ComfyUI's own server object, never started, which keeps what it would send to the browser."""
    from server import PromptServer

    class RecordingServer(PromptServer):
        def __init__(self) -> None:
            super().__init__(asyncio.new_event_loop())
            self.events: list[tuple[Any, Any]] = []

        def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
            self.events.append((event, data))

    return RecordingServer()


class _CapturedLog(logging.Handler):
    """Collects warnings while in a `with` block: ComfyUI only logs why a plugin did not load."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"

    def __enter__(self) -> _CapturedLog:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
