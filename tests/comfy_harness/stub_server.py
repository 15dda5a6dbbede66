"""Servers that speak ComfyUI's protocol and only wait: what a fleet costs beside the work itself.

Every job takes the same time and saves a text file with what it was asked, so that equal jobs give equal files.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from typing import Any

from aiohttp import WSMsgType, web

OBJECT_INFO: dict[str, Any] = {
    "StubLoad": {
        "input": {"required": {"image": [["on_server.png"], {"image_upload": True}]}},
        "output": ["IMAGE"], "output_node": False, "display_name": "Stub Load", "description": "",
    },
    "StubSave": {
        "input": {
            "required": {
                "images": ["IMAGE"],
                "seed": ["INT", {"default": 0, "min": 0, "max": 1000000}],
                "strength": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0}],
                "mode": [["fast", "slow"], {}],
                "note": ["STRING", {"default": ""}],
                "loud": ["BOOLEAN", {"default": False}],
            },
            "optional": {"style": ["COMBO", {"options": ["plain", "bold"]}]},
        },
        "output": [], "output_node": True, "display_name": "Stub Save", "description": "",
    },
}  # fmt: skip
WORKFLOW: dict[str, Any] = {
    "1": {"class_type": "StubLoad", "inputs": {"image": "on_server.png"}},
    "2": {
        "class_type": "StubSave",
        "inputs": {"images": ["1", 0], "seed": 0, "strength": 1.0, "mode": "fast", "note": "", "loud": False},
    },
}
FAIL = "fail"
"""As note: this job fails with an error of its node."""


class StubServer:
    """One of them. jobs: the notes of the jobs that it finished, in their order; busy: seconds of each."""

    def __init__(self, seconds: float, version: str) -> None:
        self.seconds, self.version = seconds, version
        self.jobs: list[str] = []
        self.url = ""
        self.spans: list[tuple[float, float]] = []
        self._uploads: dict[str, bytes] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._history: dict[str, Any] = {}
        self._files: dict[str, bytes] = {}
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task] = set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/system_stats", self._stats),
                web.get("/object_info/{name}", self._info),
                web.get("/ws", self._ws),
                web.post("/prompt", self._prompt),
                web.post("/upload/image", self._upload),
                web.get("/history/{id}", self._get_history),
                web.get("/view", self._view),
                web.post("/queue", self._ignore),
                web.post("/interrupt", self._ignore),
                web.get("/experiment/models", self._no_models),
            ]
        )
        return app

    async def _stats(self, _):
        return web.json_response(
            {"system": {"comfyui_version": self.version, "pytorch_version": "2"}, "devices": []}
        )

    async def _info(self, request):
        name = request.match_info["name"]
        return web.json_response({name: OBJECT_INFO[name]} if name in OBJECT_INFO else {})

    async def _no_models(self, _):
        return web.json_response([])

    async def _ignore(self, _):
        return web.Response()

    async def _ws(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self._sockets[client] = socket
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
        self._sockets.pop(client, None)
        return socket

    async def _upload(self, request):
        form = await request.post()
        name = f"{form['subfolder']}/{form['image'].filename}"
        self._uploads[name] = form["image"].file.read()
        return web.json_response(
            {"name": form["image"].filename, "subfolder": form["subfolder"], "type": "input"}
        )

    async def _prompt(self, request):
        body = await request.json()
        number = f"{len(self._history) + len(self._running)}-{time.monotonic_ns()}"
        task = asyncio.create_task(self._work(number, body["prompt"], body["client_id"]))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return web.json_response({"prompt_id": number, "node_errors": {}})

    async def _work(self, number: str, prompt: dict[str, Any], client: str) -> None:
        inputs = prompt["2"]["inputs"]
        async with self._turn:
            began = time.monotonic()
            await asyncio.sleep(self.seconds)
            self.spans.append((began, time.monotonic()))
        socket = self._sockets.get(client)
        if inputs["note"] == FAIL:
            data = {
                "exception_type": "ValueError",
                "exception_message": "told to",
                "node_id": "2",
                "prompt_id": number,
            }
            await socket.send_json({"type": "execution_error", "data": data})
            return
        image = self._uploads.get(prompt["1"]["inputs"]["image"], b"")
        name = f"{number}.txt"
        asked = {**inputs, "image": hashlib.sha256(image).hexdigest()}
        self._files[name] = json.dumps(asked, sort_keys=True).encode()
        file = {"filename": name, "subfolder": "", "type": "output"}
        self._history[number] = {"outputs": {"2": {"files": [file]}}}
        self.jobs.append(inputs["note"])
        if socket is not None:
            await socket.send_json({"type": "executing", "data": {"node": None, "prompt_id": number}})

    async def _get_history(self, request):
        number = request.match_info["id"]
        return web.json_response({number: self._history[number]} if number in self._history else {})

    async def _view(self, request):
        return web.Response(body=self._files[request.query["filename"]])


class StubServers:
    """Any number of them in a thread of this process, for as long as a `with` block runs."""

    def __init__(self, count: int, seconds: float, versions: tuple[str, ...] = ("1",)) -> None:
        self.servers = [StubServer(seconds, versions[number % len(versions)]) for number in range(count)]

    def __enter__(self) -> StubServers:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers)

    def stop(self, number: int) -> None:
        """End one of them as if its machine had lost its power."""
        asyncio.run_coroutine_threadsafe(self._runners[number].cleanup(), self._loop).result()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._runners = []
        for server in self.servers:
            runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._runners.append(runner)
        ready.set()
        await self._end.wait()
        for runner in self._runners:
            await runner.cleanup()
