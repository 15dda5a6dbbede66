#!/usr/bin/env python3
"""Runs an API-format workflow once for every row of a table, on as many ComfyUIs as there are.

    python scripts/fleet.py workflows/api/dawn_talking_head.json jobs.csv --output clips
    python scripts/fleet.py workflow.json jobs.csv --output clips --servers http://a:8188,http://b:8188
    python scripts/fleet.py workflow.json jobs.csv --output clips --ray auto

A column is `Class.input` or `id.input` (LoadImage.image, LoadAudio.audio, DawnSampleMotion.seed), `name` names the
output; files are looked for beside the table and sent to the workers. results.csv in the output folder says what
became of each row. The same command again does what is missing, failed or changed, and nothing else.

Without --servers, ComfyUIs are started: one per GPU, or per --cpus cores, on this machine or on every machine of a
Ray cluster. Needs requirements-fleet.txt, and COMFYUI_PATH or --comfyui.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from comfy_client import WorkflowError, read_workflow

ROOT = Path(__file__).resolve().parents[1]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("workflow", type=Path, help="a workflow in the API format")
    parser.add_argument("jobs", type=Path, help="a table: .csv, .jsonl or .parquet")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files and results.csv")
    parser.add_argument("--check", action="store_true", help="check all rows and stop")
    parser.add_argument(
        "--servers", type=_urls, default=[], metavar="URL,URL", help="ComfyUIs that run already"
    )
    parser.add_argument(
        "--ray",
        default="local",
        metavar="ADDRESS",
        help="local (default: this machine), auto (the cluster that this machine belongs to) or ray://…",
    )
    parser.add_argument(
        "--cpus", type=_positive, metavar="N", help="cores of each ComfyUI, which then uses no GPU"
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help="start no more ComfyUIs than these")
    parser.add_argument(
        "--retries", type=_natural, default=1, metavar="N", help="of a job that fails (default: 1)"
    )
    parser.add_argument(
        "--split-render",
        type=_positive,
        default=1,
        metavar="N",
        help="sample each motion once, then render and paste its frames in N parts on all workers",
    )
    parser.add_argument(
        "--comfyui",
        type=Path,
        default=os.environ.get("COMFYUI_PATH"),
        help="the ComfyUI to start, at this path on every machine (default: COMFYUI_PATH)",
    )
    parser.add_argument("--models", type=Path, help="its folder of models (default: the one in --comfyui)")
    parser.add_argument(
        "--comfyui-arguments", default="", metavar="TEXT", help="more arguments for it, such as '--lowvram'"
    )
    return parser


def _urls(text: str) -> list[str]:
    urls = [url.strip().rstrip("/") for url in text.split(",") if url.strip()]
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise argparse.ArgumentTypeError(f"{url} is no address such as http://127.0.0.1:8188")
    if twice := [url for url in urls if urls.count(url) > 1]:
        raise argparse.ArgumentTypeError(f"{twice[0]} is named twice")
    return urls


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of times")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    arguments = make_parser().parse_args()
    try:
        from fleet.command import run
    except ImportError as error:
        print(
            f"error: {error.name} is missing: pip install -r {ROOT / 'requirements-fleet.txt'}",
            file=sys.stderr,
        )
        return 1
    try:
        return asyncio.run(run(arguments, read_workflow(arguments.workflow), ROOT))
    except WorkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped; what is done is kept, and the same command goes on with the rest", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
