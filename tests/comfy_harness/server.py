"""Runs prompts over HTTP in a ComfyUI that is another process, as a user's browser or script does."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from comfy_server import ComfyServer

from .results import Prompt, PromptRejected, Run, raise_if_failed


class ServerComfy:
    def __init__(self, server: ComfyServer) -> None:
        self.server = server
        self.url = server.url
        self.base = server.base

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer; a status of 400 and more is an answer too."""
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, _json_or_none(response.read())
        except urllib.error.HTTPError as error:
            return error.code, _json_or_none(error.read())

    def queue(self, prompt: Prompt) -> str:
        """Queue a prompt and return its id without waiting."""
        status, answer = self.post("/prompt", {"prompt": prompt})
        if status != 200 or answer["node_errors"]:
            raise PromptRejected(answer["error"] if status != 200 else None, answer["node_errors"])
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> dict[str, Any]:
        """The history entry of a prompt, as soon as it has ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            if self.server.process.poll() is not None:
                raise ConnectionError(f"ComfyUI has stopped; its log:\n{self.server.log_tail()}")
            time.sleep(0.1)
        raise TimeoutError(f"prompt not done after {timeout} s; ComfyUI's log:\n{self.server.log_tail()}")

    def run(self, prompt: Prompt, timeout: float = 300) -> Run:
        """Run to the end, or raise PromptRejected, NodeFailed or Interrupted."""
        entry = self.wait(self.queue(prompt), timeout)
        messages = [(event, data) for event, data in entry["status"]["messages"]]
        raise_if_failed(messages)
        cached = dict(messages)["execution_cached"]["nodes"]
        executed = [node for node in prompt if node not in cached]
        return Run(executed, cached, entry["outputs"])


def _json_or_none(body: bytes) -> Any:
    return json.loads(body) if body.strip() else None
