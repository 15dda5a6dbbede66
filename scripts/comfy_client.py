"""Talks to a ComfyUI server: what `queue_workflow.py` and `fleet.py` share.

Needs only aiohttp, which every ComfyUI has.
"""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import aiohttp

HEARTBEAT_SECONDS = 120  # a server that loads a model may be deaf for some seconds

Prompt = dict[str, dict[str, Any]]  # node id → {"class_type", "inputs", "_meta"}


class WorkflowError(Exception):
    """Something the user can act on; shown without a traceback."""


class ConnectionLost(WorkflowError):
    """The server went away in the middle of a job."""


# ---------------------------------------------------------------- the workflow


def read_workflow(path: Path) -> Prompt:
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise WorkflowError(f"{path} is not JSON: {error}") from None
    if isinstance(workflow, dict) and isinstance(workflow.get("nodes"), list):
        raise WorkflowError(f"{path} is a workflow for the browser; export it there with File → Export (API)")
    if not isinstance(workflow, dict) or not all("class_type" in node for node in workflow.values()):
        raise WorkflowError(f"{path} is not a workflow in the API format")
    return workflow


def nodes_named(prompt: Prompt, name: str) -> list[str]:
    """Ids of the node with this id, or else of all nodes of this class."""
    return [name] if name in prompt else [node for node in prompt if prompt[node]["class_type"] == name]


def put_files(prompt: Prompt, class_type: str, key: str, names: list[str]) -> None:
    """Give the names of uploaded files to the nodes that load such files, in the order of the workflow."""
    nodes = nodes_named(prompt, class_type)
    if len(names) > len(nodes):
        raise WorkflowError(f"{len(names)} files for {len(nodes)} {class_type} nodes")
    for node, name in zip(nodes, names, strict=False):
        prompt[node]["inputs"][key] = name


def set_input(prompt: Prompt, assignment: str) -> None:
    """Carry out one `NODE.input=value`; the value is JSON where it can be read as JSON, else text."""
    target, equals, text = assignment.partition("=")
    name, dot, key = target.partition(".")
    if not (equals and dot and key):
        raise WorkflowError(f"--set {assignment}: expected NODE.input=value")
    nodes = nodes_named(prompt, name)
    if not nodes:
        known = ", ".join(f"{node} ({prompt[node]['class_type']})" for node in prompt)
        raise WorkflowError(f"--set {assignment}: no node {name} in the workflow; it has {known}")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for node in nodes:
        # A server ignores inputs that it does not know, so a typing mistake would go unnoticed.
        if key not in prompt[node]["inputs"]:
            known = ", ".join(prompt[node]["inputs"])
            raise WorkflowError(
                f"--set {assignment}: {name} has no input {key} in the workflow; it has {known}"
            )
        prompt[node]["inputs"][key] = value


# ---------------------------------------------------------------- the server


class Watcher(Protocol):
    """Who is told how far a job is."""

    def title(self, node: str) -> str: ...
    def show_queue(self, waiting: int) -> None: ...
    def skip(self, nodes: Iterable[str]) -> None: ...
    def start(self, node: str) -> None: ...
    def step(self, value: float, total: float) -> None: ...
    def close(self) -> None: ...


class ComfyClient:
    """One client of a ComfyUI server; what goes over the wire is only here."""

    def __init__(self, session: aiohttp.ClientSession, server: str, accept_parts: bool = True) -> None:
        """accept_parts: whether a workflow runs, with a warning, of which the server refuses some outputs."""
        self.session = session
        self.server = server.rstrip("/")
        self.client_id = uuid.uuid4().hex
        self.accept_parts = accept_parts

    async def get(self, path: str) -> Any:
        """What the server says at this path."""
        async with self.session.get(f"{self.server}{path}") as response:
            response.raise_for_status()
            return await response.json()

    async def upload(self, path: Path) -> str:
        """Put a picture or sound into the server's input folder; its name there, which may differ."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WorkflowError(f"cannot read {path}: {error.strerror}") from None
        return await self.upload_content(content, path.name)

    async def upload_content(self, content: bytes, name: str, subfolder: str = "") -> str:
        form = aiohttp.FormData(quote_fields=False)  # or a server that does not unquote keeps another name
        form.add_field("image", content, filename=name)  # the field has this name for sounds too
        form.add_field("subfolder", subfolder)
        async with self.session.post(f"{self.server}/upload/image", data=form) as response:
            if response.status == 413:
                size = len(content) / 2**20
                raise WorkflowError(
                    f"{self.server} takes no file as large as {name} ({size:.0f} MB): "
                    f"start that ComfyUI with --max-upload-size {size + 100:.0f}"
                )
            if response.status != 200:
                raise WorkflowError(f"the server refused {name}: {response.status} {await response.text()}")
            answer = await response.json()
        return "/".join(part for part in (answer["subfolder"], answer["name"]) if part)

    async def queue(self, prompt: Prompt) -> str:
        body = {"prompt": prompt, "client_id": self.client_id}
        async with self.session.post(f"{self.server}/prompt", json=body) as response:
            answer = await response.json(content_type=None)
            if response.status != 200:
                raise WorkflowError(f"the server refused the workflow:\n{describe_refusal(prompt, answer)}")
        if answer.get("node_errors"):  # other outputs of the workflow are valid and do run
            problem = f"part of the workflow is skipped:\n{describe_refusal(prompt, answer)}"
            if not self.accept_parts:
                await self._cancel(answer["prompt_id"])
                raise WorkflowError(problem)
            print(f"warning: {problem}", file=sys.stderr)
        return answer["prompt_id"]

    async def run(self, prompt: Prompt, bar: Watcher) -> dict[str, Any]:
        """Queue, follow to the end and return what each output node reported.

        Whatever ends it here, cancelling included, cancels the job on the server.
        """
        address = f"{self.server}/ws?clientId={self.client_id}"
        # A machine that loses its power says no good-bye; the pings find out.
        async with self.session.ws_connect(address, max_msg_size=0, heartbeat=HEARTBEAT_SECONDS) as events:
            prompt_id = await self.queue(prompt)
            try:
                await self._follow(events, prompt_id, bar)
            except BaseException:
                with contextlib.suppress(
                    aiohttp.ClientError
                ):  # what ended it is said, and not what came after
                    await self._cancel(prompt_id)
                raise
            finally:
                bar.close()
        async with self.session.get(f"{self.server}/history/{prompt_id}") as response:
            return (await response.json())[prompt_id]["outputs"]

    async def _follow(self, events: aiohttp.ClientWebSocketResponse, prompt_id: str, bar: Watcher) -> None:
        async for message in events:
            if message.type != aiohttp.WSMsgType.TEXT:  # binary ones are preview pictures
                continue
            event = json.loads(message.data)
            kind, data = event["type"], event["data"]
            if kind == "status":
                bar.show_queue(data["status"]["exec_info"]["queue_remaining"])
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "execution_cached":
                bar.skip(data["nodes"])
            elif kind == "executing" and data["node"] is None:
                return  # the one event that comes after the results are in the history
            elif kind == "executing":
                bar.start(data["node"])
            elif kind == "progress":
                bar.step(data["value"], data["max"])
            elif kind == "execution_error":
                reason = f"{data['exception_type']}: {data['exception_message'].strip()}"
                raise WorkflowError(f"{bar.title(data['node_id'])} failed: {reason}")
            elif kind == "execution_interrupted":
                raise WorkflowError(f"cancelled on the server in {bar.title(data['node_id'])}")
        raise ConnectionLost(f"lost the connection to {self.server}; look at the log of ComfyUI")

    async def _cancel(self, prompt_id: str) -> None:
        await self.session.post(f"{self.server}/queue", json={"delete": [prompt_id]})  # if it still waits
        await self.session.post(f"{self.server}/interrupt", json={"prompt_id": prompt_id})  # if it runs

    async def read(self, file: dict[str, str]) -> bytes:
        """The content of a file that a job made."""
        query = {key: file[key] for key in ("filename", "subfolder", "type")}
        async with self.session.get(f"{self.server}/view", params=query) as response:
            response.raise_for_status()
            return await response.read()

    async def download(self, file: dict[str, str], folder: Path) -> Path:
        query = {key: file[key] for key in ("filename", "subfolder", "type")}
        path = unused_path(folder / Path(file["filename"]).name)
        async with self.session.get(f"{self.server}/view", params=query) as response:
            response.raise_for_status()
            with path.open("wb") as target:
                async for part in response.content.iter_chunked(1 << 20):
                    target.write(part)
        return path


def describe_refusal(prompt: Prompt, answer: dict[str, Any]) -> str:
    lines = [
        f"  {prompt[node].get('_meta', {}).get('title', report['class_type'])} (node {node}): "
        f"{problem['message']}: {problem['details']}"
        for node, report in answer.get("node_errors", {}).items()
        for problem in report["errors"]
    ]
    error = answer.get("error", "")
    return "\n".join(lines) or f"  {error.get('message', error) if isinstance(error, dict) else error}"


def saved_files(outputs: dict[str, Any]) -> list[dict[str, str]]:
    """What the workflow saved; its previews only if it saved nothing."""
    files = [
        entry
        for report in outputs.values()
        for entries in report.values()
        for entry in entries
        if isinstance(entry, dict) and "filename" in entry
    ]
    return [file for file in files if file["type"] == "output"] or files


def unused_path(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_stem(f"{path.stem}_{number + 1}")
    return free
