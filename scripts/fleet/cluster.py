"""Ray: a local one that comes and goes with this process, or a running cluster; and the actors in it.

Actors, not ray.data: a ComfyUI takes half a minute to start and keeps its models, so jobs go to processes that stay,
and each clip has to be kept when it is done, not when a block of rows is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Before ray is imported, which reads it then. Nothing is reported to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from comfy_client import WorkflowError

from .temporary import own_folder
from .workers import Given, Started, WorkerGroup

SCRIPTS = Path(__file__).resolve().parents[1]

LOCAL = "local"
MOST_CPUS = 4
"""Of one ComfyUI without a GPU, when nobody says how many: more make a single small job hardly faster."""

_FOLDER = "dawn-fleet-ray-"


@dataclass
class Slot:
    """One worker as the driver sees it. sent: files that it has."""

    name: str
    actor: Any
    index: int = 0
    sent: set[str] = field(default_factory=set)
    busy: float = 0.0
    done: int = 0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Path | None]:
    """Ray for as long as the block runs: LOCAL starts one on this machine, `auto` and ray://… find a running one.

    Yields the folder of a local one, which goes with it.

    Raises WorkflowError when there is none.
    """
    folder = None
    # Its own warnings (token, dashboard) say nothing about the jobs. Its processes need these scripts.
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"working_dir": str(SCRIPTS), "excludes": ["browser/", "**/__pycache__/"]},
    }
    if address == LOCAL:
        # Else Ray leaves a token in the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.pop("RAY_ADDRESS", None)  # an address there would win over "local"
        folder = own_folder(_FOLDER)
        options |= {"address": "local", "include_dashboard": False, "_temp_dir": str(folder)}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise WorkflowError(f"no Ray at {address}: {str(error).splitlines()[0]}") from None
    try:
        yield folder
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def given_workers(urls: list[str]) -> list[Slot]:
    actor = _actor([Given(url.rstrip("/")) for url in urls], num_cpus=0)
    return [Slot(url.rstrip("/"), actor, index) for index, url in enumerate(urls)]


def started_workers(how: Started, cpus: int | None, most: int | None = None) -> list[Slot]:
    """A ComfyUI per GPU of the cluster; with `cpus`, or without any GPU, one per so many cores.

    Raises WorkflowError when no machine has what one needs.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if gpus and cpus is None:
        count, options = gpus, {"num_cpus": 1, "num_gpus": 1}
    else:
        if cpus is None:
            cpus = max(1, min(MOST_CPUS, *(int(machine.get("CPU", 0)) for machine in machines), MOST_CPUS))
        count = sum(int(machine.get("CPU", 0)) // cpus for machine in machines)
        options = {"num_cpus": cpus}
        how = replace(how, arguments=("--cpu", *how.arguments))
    if count == 0:
        raise WorkflowError(f"no machine has {cpus} cores (--cpus) for a ComfyUI")
    count = min(count, most or count)
    return [Slot(f"worker {number}", _actor([how], **options)) for number in range(1, count + 1)]


def _actor(sources: list[Given | Started], **options: Any) -> Any:
    # An actor that dies is made again, on another machine if need be; its job is given out anew by the driver.
    return ray.remote(WorkerGroup).options(max_restarts=-1, max_task_retries=0, **options).remote(sources)
