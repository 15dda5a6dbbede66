"""What scripts/fleet.py does, from its arguments to its last line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import ray
import ray.exceptions
from comfy_client import Prompt, WorkflowError
from filelock import FileLock, Timeout
from tqdm import tqdm

from .catalogue import Catalogue
from .cluster import Slot, connected, given_workers, started_workers
from .dispatch import Dispatcher, Summary, Task, whole_job
from .jobs import Row, read_rows
from .plan import Job, plan_jobs
from .results import Results
from .split import SplitRender
from .workers import Description, Started

SHOWN_PROBLEMS = 10
CLOSING_SECONDS = 20


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


async def run(arguments: argparse.Namespace, workflow: Prompt, root: Path) -> int:
    """The exit status: 0 when every row is done. Raises WorkflowError."""
    rows = read_rows(arguments.jobs)  # a mistake there is said before anything starts
    if arguments.check:
        with connected(arguments.ray) as folder:
            async with _workers(arguments, root, folder, 1) as slots:
                jobs, _ = await plan_with(arguments, workflow, rows, slots)
        print(f"{len(jobs)} rows can run")
        return 0
    with _only_one(arguments.output), contextlib.closing(Results(arguments.output)) as results:
        with connected(arguments.ray) as folder:
            async with _workers(arguments, root, folder, arguments.workers) as slots:
                jobs, first_task = await plan_with(arguments, workflow, rows, slots)
                todo = [job for job in jobs if not results.is_done(job)]
                if len(todo) < len(jobs):
                    _say(f"{len(jobs) - len(todo)} of {len(jobs)} rows are done already")
                with tqdm(total=len(todo), unit="clip", disable=not todo) as bar:
                    dispatcher = Dispatcher(workflow, results, slots, arguments.retries, bar, _say)
                    summary = await dispatcher.run(todo, first_task)
        _report(summary, slots)
        return 1 if summary.failed else 0


@contextlib.contextmanager
def _only_one(output: Path):
    """Two fleets in one folder would both do every row."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".fleet.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(f"another fleet is writing to {output}") from None
    except OSError as error:
        raise WorkflowError(f"cannot write to {output}: {error.strerror or error}") from None
    with lock:
        yield


@contextlib.asynccontextmanager
async def _workers(
    arguments: argparse.Namespace, root: Path, folder: Path | None, most: int | None
) -> AsyncIterator[list[Slot]]:
    if arguments.servers:
        slots = given_workers(arguments.servers)
    else:
        how = replace(_how_to_start(arguments, root), folder=folder)
        slots = started_workers(how, arguments.cpus, most)
        _say(f"starting {len(slots)} ComfyUI")
    try:
        yield slots
    finally:
        actors = {slot.actor for slot in slots}
        closing = [asyncio.ensure_future(_close(actor)) for actor in actors]
        await asyncio.wait(closing, timeout=CLOSING_SECONDS)


async def _close(actor) -> None:
    with contextlib.suppress(ray.exceptions.RayError):
        await actor.close.remote()


def _how_to_start(arguments: argparse.Namespace, root: Path) -> Started:
    comfyui = arguments.comfyui and Path(arguments.comfyui).resolve()
    if not comfyui or (arguments.ray == "local" and not (comfyui / "main.py").is_file()):
        raise WorkflowError(
            f"{f'{comfyui} holds no ComfyUI' if comfyui else 'which ComfyUI?'} Name its folder with --comfyui or "
            "COMFYUI_PATH, or the addresses of running ones with --servers"
        )
    folder = comfyui / "custom_nodes"
    own = [path for path in sorted(folder.glob("*")) if (path / "__init__.py").is_file()]
    plugins = {path.resolve(): None for path in (root, *own)}
    models = (arguments.models or comfyui / "models").resolve()
    if arguments.ray == "local" and not models.is_dir():
        if arguments.models:
            raise WorkflowError(f"--models: there is no folder {models}")
        models = None
    return Started(comfyui, tuple(plugins), models, tuple(shlex.split(arguments.comfyui_arguments)))


async def plan_with(
    arguments: argparse.Namespace, workflow: Prompt, rows: list[Row], slots: list[Slot]
) -> tuple[list[Job], Callable[[Dispatcher, Job], Task]]:
    """The jobs, and what begins one. Raises WorkflowError for all that is wrong with workers or rows."""
    classes = sorted({node["class_type"] for node in workflow.values()})
    names = sorted(
        {v for node in workflow.values() for v in node["inputs"].values() if isinstance(v, str) and v}
    )
    found = await asyncio.gather(*(_describe(slot, classes, names) for slot in slots))
    if problems := [
        f"{slot.name}: {text}" for slot, text in zip(slots, found, strict=True) if isinstance(text, str)
    ]:
        raise WorkflowError("\n".join(problems))
    for line in differences({slot.name: entry.versions for slot, entry in zip(slots, found, strict=True)}):
        _say(f"warning: {line}")
    for slot, entry in zip(slots, found, strict=True):
        if lacking := sorted(set(classes) - set(entry.object_info)):
            raise WorkflowError(
                f"{slot.name} has no node {', '.join(lacking)}; is the plugin installed there?"
            )
    catalogue = Catalogue(found[0].object_info)
    jobs = plan_jobs(workflow, rows, catalogue, arguments.workflow.parent, arguments.jobs.parent)
    if arguments.split_render == 1:
        return jobs, whole_job
    return jobs, SplitRender(workflow, catalogue.outputs, arguments.split_render).first_task


async def _describe(slot: Slot, classes: list[str], names: list[str]) -> Description | str:
    try:
        return await slot.actor.describe.remote(slot.index, classes, names)
    except ray.exceptions.RayActorError as error:
        return str(error).splitlines()[0]


def differences(versions: dict[str, dict[str, str]]) -> list[str]:
    """What is not the same on all workers, a line each: worker → what → which one."""
    lines = []
    for what in dict.fromkeys(what for own in versions.values() for what in own):
        which: dict[str, list[str]] = {}
        for worker, own in versions.items():
            which.setdefault(own.get(what, "missing"), []).append(worker)
        if len(which) > 1:
            shown = "; ".join(f"{value} on {_few(workers)}" for value, workers in which.items())
            lines.append(f"{what} differs: {shown}")
    return lines


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _report(summary: Summary, slots: list[Slot]) -> None:
    minutes = summary.seconds / 60
    print(
        f"{summary.done} done, {summary.failed} failed in {summary.seconds:.1f} s"
        + (f"; {summary.video / minutes:.0f} s of video a minute" if summary.video and minutes else "")
    )
    for slot in slots if summary.seconds and summary.done + summary.failed else []:
        print(f"  {slot.name}: {slot.done} jobs, {slot.busy / summary.seconds:.0%} busy")
    for problem in summary.problems[:SHOWN_PROBLEMS]:
        print(f"  {problem}", file=sys.stderr)
    if len(summary.problems) > SHOWN_PROBLEMS:
        print(f"  and {len(summary.problems) - SHOWN_PROBLEMS} more, see results.csv", file=sys.stderr)
