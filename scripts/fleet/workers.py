"""ComfyUIs that run jobs: given by their addresses, or started here. Each is driven from inside a Ray actor."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from comfy_client import ComfyClient, ConnectionLost, Prompt, WorkflowError, saved_files
from comfy_server import ComfyServer, ComfyServerError

from .catalogue import definition
from .temporary import own_folder

DONE, FAILED, LOST = "done", "failed", "lost"
MOST_UPLOADED = 10_000
"""MB that a ComfyUI started here takes in one file. Its own 100 are less than the motion of ten minutes."""


@dataclass(frozen=True)
class Given:
    """A ComfyUI that somebody runs."""

    url: str


@dataclass(frozen=True)
class Started:
    """How to start a ComfyUI on the machine of the actor. folder: for its files; None is the system's."""

    comfyui: Path
    plugins: tuple[Path, ...]
    models: Path | None
    arguments: tuple[str, ...]
    folder: Path | None = None


@dataclass(frozen=True)
class SavedFile:
    """node: id of the one that saved it; suffix: of its name."""

    node: str
    suffix: str
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a job on a worker.

    state: DONE, FAILED (the job's fault as far as anybody knows) or LOST (the worker went away)
    seconds: from queueing to the last event
    files: what was saved, in the workflow's order
    reports: what the nodes showed, as in ComfyUI's history
    """

    state: str
    seconds: float = 0.0
    files: tuple[SavedFile, ...] = ()
    error: str = ""
    reports: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """object_info: of the asked classes, those that are there; versions: what → which one, to be compared."""

    object_info: dict[str, Any]
    versions: dict[str, str]


class _Silent:
    """Watches a job without showing it; nodes are called as in the workflow."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt

    def title(self, node: str) -> str:
        entry = self.prompt.get(node, {})
        return f"{entry.get('_meta', {}).get('title') or entry.get('class_type', '?')} (node {node})"

    def show_queue(self, waiting: int) -> None: ...
    def skip(self, nodes: Iterable[str]) -> None: ...
    def start(self, node: str) -> None: ...
    def step(self, value: float, total: float) -> None: ...
    def close(self) -> None: ...


class Worker:
    """One ComfyUI: started when it is needed and again when it has died."""

    def __init__(self, source: Given | Started) -> None:
        self.source = source
        self._server: ComfyServer | None = None
        self._base: Path | None = None
        self._session: aiohttp.ClientSession | None = None
        self._stored: set[str] = set()
        self._job: asyncio.Task | None = None

    async def describe(self, classes: list[str], names: list[str]) -> Description | str:
        """What the server has of these classes of nodes and of models with these names, or what is wrong with it."""
        try:
            client = await self._client()
            stats = (await client.get("/system_stats"))["system"]
            found = await asyncio.gather(*(client.get(f"/object_info/{name}") for name in classes))
            info = {name: entry for part in found for name, entry in part.items()}
            versions = {
                "ComfyUI": str(stats.get("comfyui_version", "?")),
                "PyTorch": str(stats.get("pytorch_version", "?")),
                **{f"node {name}": _digest(definition(entry)) for name, entry in info.items()},
                **{f"model {name}": size for name, size in (await _sizes(client, names)).items()},
            }
            if isinstance(self.source, Started):
                versions |= {f"plugin {path.name}": _digest_of_code(path) for path in self.source.plugins}
        except ComfyServerError as error:
            return str(error)
        except aiohttp.ClientConnectorError:
            return f"no ComfyUI answers at {self.url}"
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, KeyError, TypeError, AttributeError):
            return f"{self.url} does not answer as a ComfyUI does"
        return Description(info, versions)

    async def run(self, prompt: Prompt, needed: list[str], files: dict[str, bytes]) -> Outcome:
        """Run a job to its end.

        Args:
            needed: names in the input folder that the prompt uses
            files:  those of them that were not sent to this worker before, with their content
        """
        self._job = asyncio.current_task()
        began = time.monotonic()
        try:
            client = await self._client()
            for stored, content in files.items():
                if stored not in self._stored:
                    folder, _, name = stored.rpartition("/")
                    await client.upload_content(content, name, folder)
                    self._stored.add(stored)
            if not self._stored.issuperset(needed):  # it died between two jobs
                return Outcome(LOST, error="was started anew")
            queued = time.monotonic()
            reports = await client.run(prompt, _Silent(prompt))
            seconds = time.monotonic() - queued
            entries = [
                (node, entry)
                for node in prompt
                if node in reports
                for entry in saved_files({node: reports[node]})
            ]
            if any(entry["type"] == "output" for _, entry in entries):
                entries = [(node, entry) for node, entry in entries if entry["type"] == "output"]
            contents = await asyncio.gather(*(client.read(entry) for _, entry in entries))
        except (
            ComfyServerError,
            ConnectionLost,
            aiohttp.ClientError,
            asyncio.TimeoutError,
            OSError,
        ) as error:
            await self._forget_connection()
            return Outcome(LOST, time.monotonic() - began, error=str(error) or type(error).__name__)
        except WorkflowError as error:
            return Outcome(FAILED, time.monotonic() - began, error=str(error))
        finally:
            self._job = None
        files = (
            SavedFile(node, _suffix(entry["filename"]), content)
            for (node, entry), content in zip(entries, contents, strict=True)
        )
        return Outcome(DONE, seconds, tuple(files), reports=reports)

    async def close(self) -> None:
        """Cancel what runs and leave nothing behind."""
        if self._job is not None and isinstance(self.source, Given):
            self._job.cancel()
            with contextlib.suppress(asyncio.CancelledError, asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._job), 5)
        if self._session is not None:
            await self._session.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)

    @property
    def url(self) -> str:
        return (
            self.source.url if isinstance(self.source, Given) else self._server.url if self._server else "?"
        )

    @property
    def process(self) -> int | None:
        """Of the ComfyUI that was started here."""
        return self._server.process.pid if self._server and self._server.process else None

    async def _client(self) -> ComfyClient:
        if isinstance(self.source, Started) and (
            self._server is None or self._server.process.poll() is not None
        ):
            await self._forget_connection()
            await asyncio.to_thread(self._start)
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return ComfyClient(self._session, self.url, accept_parts=False)

    def _start(self) -> None:
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)
        source = self.source
        self._base = own_folder("dawn-fleet-comfy-", source.folder)
        arguments = ("--max-upload-size", str(MOST_UPLOADED), *source.arguments)
        self._server = ComfyServer(source.comfyui, self._base, source.plugins, arguments, source.models)
        try:
            self._server.__enter__()  # until close(), or until this process dies
        except BaseException:
            self._server = None
            raise

    async def _forget_connection(self) -> None:
        self._stored.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None


class WorkerGroup:
    """The actor. One process drives one ComfyUI that it starts, or any number of given ones."""

    def __init__(self, sources: list[Given | Started]) -> None:
        self._workers = [Worker(source) for source in sources]

    async def describe(self, index: int, classes: list[str], names: list[str]) -> Description | str:
        return await self._workers[index].describe(classes, names)

    async def run(self, index: int, prompt: Prompt, needed: list[str], files: dict[str, bytes]) -> Outcome:
        return await self._workers[index].run(prompt, needed, files)

    async def processes(self) -> tuple[int, list[int | None]]:
        """Ids of this process and of the ComfyUIs that it started."""
        return os.getpid(), [worker.process for worker in self._workers]

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))


def _suffix(name: str) -> str:
    """Of clip.mp4 .mp4, of clip.motion.safetensors both."""
    suffixes = Path(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-2:-1] == [".motion"] else suffixes[-1:])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _digest_of_code(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") for part in parts):
            digest.update("/".join(parts).encode() + path.read_bytes())
    return digest.hexdigest()[:8]


async def _sizes(client: ComfyClient, names: list[str]) -> dict[str, str]:
    """In bytes, of the models with these names; what a server does not say is not compared."""
    if not names:
        return {}
    sizes = {}
    try:
        for folder in await client.get("/experiment/models"):
            for file in await client.get(f"/experiment/models/{folder['name']}"):
                if file["name"] in names:
                    sizes[file["name"]] = f"{file['size']} bytes"
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return {}
    return sizes
