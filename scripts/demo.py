"""What scripts/demo.sh runs in its environment: one talking head through a real, headless ComfyUI.

The embedded model speaks, or the authors' when `--models` names a folder with their weights. All that it writes
lies in .dawn/: ComfyUI's own folders and the result.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import av
import torch
from comfy_server import ComfyServer, ComfyServerError
from queue_workflow import WorkflowError, run_workflow
from queue_workflow import make_parser as queue_workflow_parser

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / "workflows" / "api"
EMBEDDED, AUTHORS = WORKFLOWS / "dawn_talking_head.json", WORKFLOWS / "dawn_authors_models.json"
WORK = ROOT / ".dawn"
BASE = WORK / "demo"


def use_models(models: Path) -> list[str]:
    """Arguments that make ComfyUI look into another models folder too."""
    config = BASE / "extra_model_paths.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"demo:\n  base_path: {models.resolve()}\n  dawn: dawn\n  audio_encoders: audio_encoders\n",
        encoding="utf-8",
    )
    return ["--extra-model-paths-config", str(config)]


def check_video(path: Path) -> str:
    """Decode the whole file; raises WorkflowError unless it has moving pictures and sound."""
    with av.open(str(path)) as video:
        if not (video.streams.video and video.streams.audio):
            raise WorkflowError(f"{path} lacks pictures or sound")
        stream = video.streams.video[0]
        size, rate = f"{stream.width} × {stream.height}", float(stream.average_rate)
        frames = sum(1 for _ in video.decode(stream))
    with av.open(str(path)) as video:
        sound = sum(part.samples / part.sample_rate for part in video.decode(video.streams.audio[0]))
    if not (frames and sound):
        raise WorkflowError(f"{path} has {frames} frames and {sound:.2f} s of sound")
    return f"{frames} frames of {size} at {rate:g} per second, {sound:.2f} s of sound"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make one talking head with a headless ComfyUI.")
    parser.add_argument("--image", type=Path, default=ROOT / "media/portraits/astronaut.png")
    parser.add_argument("--audio", type=Path, default=ROOT / "media/speech/sense_and_sensibility.wav")
    parser.add_argument("--output", type=Path, default=WORK / "output", help="default: .dawn/output")
    parser.add_argument(
        "--models",
        type=Path,
        help="a models folder with the authors' weights in dawn/ and HuBERT in audio_encoders/; name other files than "
        f"{AUTHORS.name} does with --set",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NODE.input=value")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> Path:
    server_arguments = [] if torch.accelerator.is_available() else ["--cpu"]
    if arguments.models:
        server_arguments += use_models(arguments.models)
    job = [
        str(AUTHORS if arguments.models else EMBEDDED),
        *("--image", str(arguments.image), "--audio", str(arguments.audio)),
        *("--output", str(arguments.output)),
        *(part for assignment in arguments.set for part in ("--set", assignment)),
    ]
    print("Starting ComfyUI", flush=True)
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), BASE, [ROOT], server_arguments) as server:
        print(f"ComfyUI is ready at {server.url}; its log is {server.log}", flush=True)
        job += ["--server", server.url]
        paths = asyncio.run(run_workflow(queue_workflow_parser().parse_args(job)))
    videos = [path for path in paths if path.suffix == ".mp4"]
    if len(videos) != 1:
        raise WorkflowError(f"expected one video, got {', '.join(map(str, paths)) or 'nothing'}")
    return videos[0]


def main() -> int:
    began = time.monotonic()
    try:
        video = run(parse_arguments())
        description = check_video(video)
    except (WorkflowError, ComfyServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        return 130
    print(f"{description}, made in {time.monotonic() - began:.0f} s\n{video}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
