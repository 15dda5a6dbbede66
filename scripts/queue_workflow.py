#!/usr/bin/env python3
"""Runs an API-format workflow on a ComfyUI server and brings its files here.

    python scripts/queue_workflow.py workflows/api/dawn_talking_head.json \
        --image portrait.png --audio speech.wav --set DawnSampleMotion.seed=7 --output clips

`--image` and `--audio` files are uploaded and put into the workflow's LoadImage and LoadAudio nodes, in
order. `--set` changes any other input of a node, named by its id or by its class. Ctrl-C cancels the job on
the server. Needs only comfy_client.py beside it, and aiohttp, which every ComfyUI has.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp
from comfy_client import ComfyClient, Prompt, WorkflowError, put_files, read_workflow, saved_files, set_input

# ---------------------------------------------------------------- the screen


class ProgressBar:
    """One line that says which node runs and how far it is; in a log file, a line now and then."""

    WIDTH = 28
    LOG_SECONDS = 10

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.done: set[str] = set()
        self.node: str | None = None
        self.began = self.drawn = time.monotonic()
        self.on_terminal = sys.stdout.isatty()
        self.line = ""

    def title(self, node: str) -> str:
        entry = self.prompt.get(node, {})
        return f"{entry.get('_meta', {}).get('title') or entry.get('class_type', '?')} (node {node})"

    def show_queue(self, waiting: int) -> None:
        if self.node is None and waiting > 1:
            self._draw(f"waiting, {waiting - 1} jobs before this one")

    def skip(self, nodes: Iterable[str]) -> None:
        self.done.update(nodes)

    def start(self, node: str) -> None:
        if self.node is not None:
            self.done.add(self.node)
        self.node = node
        self._draw(self._head(), always=True)

    def step(self, value: float, total: float) -> None:
        share = value / total if total else 1.0
        filled = round(share * self.WIDTH)
        bar = "█" * filled + "░" * (self.WIDTH - filled)
        self._draw(f"{self._head()}  {bar} {value:g}/{total:g}")

    def close(self) -> None:
        if self.on_terminal and self.line:
            print(flush=True)

    def _head(self) -> str:
        return f"[{len(self.done) + 1}/{len(self.prompt)}] {self.title(self.node)}"

    def _draw(self, text: str, always: bool = False) -> None:
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self.began), 60)
        text = f"{minutes}:{seconds:02} {text}"
        if self.on_terminal:
            print(f"\r{text}{' ' * (len(self.line) - len(text))}", end="", flush=True)
            self.line = text
        elif always or now - self.drawn > self.LOG_SECONDS:
            print(text, flush=True)
            self.drawn = now


# ---------------------------------------------------------------- the command


async def run_workflow(arguments: argparse.Namespace) -> list[Path]:
    prompt = read_workflow(arguments.workflow)
    for assignment in arguments.set:
        set_input(prompt, assignment)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)) as session:
        client = ComfyClient(session, arguments.server)
        try:
            put_files(prompt, "LoadImage", "image", [await client.upload(path) for path in arguments.image])
            put_files(prompt, "LoadAudio", "audio", [await client.upload(path) for path in arguments.audio])
            outputs = await client.run(prompt, ProgressBar(prompt))
            arguments.output.mkdir(parents=True, exist_ok=True)
            return [await client.download(file, arguments.output) for file in saved_files(outputs)]
        except aiohttp.ClientConnectorError:
            raise WorkflowError(f"no ComfyUI answers at {arguments.server}") from None
        except aiohttp.ClientError as error:
            raise WorkflowError(f"{arguments.server} did not answer as a ComfyUI does: {error}") from None


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("workflow", type=Path, help="a workflow in the API format")
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="default: %(default)s")
    parser.add_argument("--image", type=Path, action="append", default=[], help="for the next LoadImage node")
    parser.add_argument("--audio", type=Path, action="append", default=[], help="for the next LoadAudio node")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.input=value")
    parser.add_argument(
        "--output", type=Path, default=Path(), help="folder for the results (default: this one)"
    )
    return parser


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a console that lacks a title's letters must not end the job
    try:
        paths = asyncio.run(run_workflow(make_parser().parse_args()))
    except WorkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        return 130
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
