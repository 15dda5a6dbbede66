#!/usr/bin/env python3
"""Makes workflows/*.jpg, the template browser's pictures, each from the workflow's own result.

    bash -c 'source scripts/setup_env.sh && $DAWN_PYTHON scripts/make_thumbnails.py [NAME]...'

Each workflow in the API format is run on its shipped files in a server of its own, and a moment of its video is kept.
The authors' models are nobody's to ship: of their workflow, what was found in the portrait is shown.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import av
from comfy_client import ComfyClient, Prompt, nodes_named, put_files, read_workflow, saved_files
from comfy_server import ComfyServer
from PIL import Image
from queue_workflow import ProgressBar
from workflow_names import TITLES, api_file, template_file

ROOT = Path(__file__).resolve().parents[1]
MEDIA = {"LoadImage": "image", "LoadAudio": "audio", "LoadVideo": "file", "RecordAudio": "audio"}
AUTHORS = "dawn_authors_models"
MOMENT, WIDTH, QUALITY = 0.42, 448, 88
"""Share of the video, pixels, and JPEG's."""


def shipped(name: str) -> Path:
    (path,) = [path for path in (ROOT / "media").rglob(name) if path.is_file()]
    return path


def only_the_portrait(prompt: Prompt) -> Prompt:
    """Of the authors' workflow: the picture with what was found in it."""
    kept = {
        node: entry
        for node, entry in prompt.items()
        if entry["class_type"] in ("LoadImage", "DawnPreparePortrait")
    }
    (portrait,) = nodes_named(kept, "DawnPreparePortrait")
    kept["shown"] = {
        "class_type": "SaveImage",
        "inputs": {"images": [portrait, 2], "filename_prefix": "found"},
    }
    return kept


def picture_of(path: Path) -> Image.Image:
    if path.suffix not in (".mp4", ".webm"):
        return Image.open(path).convert("RGB")
    with av.open(str(path)) as video:
        frames = video.streams.video[0].frames
        for number, frame in enumerate(video.decode(video=0)):
            if number >= MOMENT * frames:
                return frame.to_image()
    raise ValueError(f"{path} has no frame at {MOMENT:.0%}")


async def run(client: ComfyClient, prompt: Prompt, folder: Path) -> Path:
    for kind, key in MEDIA.items():
        names = [prompt[node]["inputs"][key] for node in nodes_named(prompt, kind)]
        put_files(prompt, kind, key, [await client.upload(shipped(name)) for name in names])
    outputs: dict[str, Any] = await client.run(prompt, ProgressBar(prompt))
    return await client.download(saved_files(outputs)[-1], folder)


async def main(names: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(Path(os.environ["COMFYUI_PATH"]), Path(folder) / "server", [ROOT]) as server,
    ):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            client = ComfyClient(session, server.url)
            for name in names or TITLES:
                prompt = read_workflow(api_file(name))
                result = await run(
                    client, only_the_portrait(prompt) if name == AUTHORS else prompt, Path(folder)
                )
                picture = picture_of(result)
                size = WIDTH, round(WIDTH * picture.height / picture.width)
                target = template_file(name, ".jpg")
                picture.resize(size, Image.Resampling.LANCZOS).save(target, quality=QUALITY)
                print(f"{target}: {target.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
