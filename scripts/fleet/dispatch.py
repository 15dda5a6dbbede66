"""Hands jobs to whichever worker is free, and keeps what comes back.

A free worker takes the next job, so that a slow one simply does fewer. A job whose worker goes away is done by
another; a job that fails is tried again as often as asked and then noted, and the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import ray.exceptions
from comfy_client import Prompt, WorkflowError

from .cluster import Slot
from .plan import Job, LocalFile
from .results import DONE, FAILED, Results, save
from .workers import LOST, Description, Outcome, SavedFile

MOST_LOSSES = 3
"""How many workers may go away with a job in their hands before the job is held to be the cause."""

REVIVE_SECONDS = 300


@dataclass
class Task:
    """Something for one worker to run: a whole job, or a step of one.

    files: what the prompt loads, as a file here or as bytes under the name that the prompt has
    then: takes the outcome; what it returns is to be run next. Raises WorkflowError when the job cannot go on
    """

    job: Job
    prompt: Prompt
    files: dict[str, LocalFile | bytes]
    then: Callable[[Slot, Outcome], list[Task]]
    tries: int = 0
    losses: int = 0

    def contents(self, known: set[str]) -> dict[str, bytes]:
        """What a worker that knows some files still needs. Raises OSError or WorkflowError for a file that changed."""
        contents = {}
        for stored, file in self.files.items():
            if stored in known:
                continue
            contents[stored] = content = file if isinstance(file, bytes) else file.path.read_bytes()
            if isinstance(file, LocalFile) and hashlib.sha256(content).hexdigest() != file.digest:
                raise WorkflowError(f"{file.path} changed while the fleet ran; run again")
        return contents


@dataclass
class Summary:
    """seconds: from the first job given out to the last one done; video: seconds of it that were made."""

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    video: float = 0.0
    problems: list[str] = field(default_factory=list)


class Dispatcher:
    def __init__(
        self,
        workflow: Prompt,
        results: Results,
        slots: list[Slot],
        retries: int,
        bar: Any,
        say: Callable[[str], None],
    ) -> None:
        """bar: a tqdm over jobs; say: called with a line for the user."""
        self.workflow, self.results, self.slots = workflow, results, slots
        self.retries, self.bar, self.say = retries, bar, say
        self.summary = Summary()
        self._waiting: deque[Task] = deque()
        self._open: set[str] = set()
        self._changed = asyncio.Condition()
        self._stop: BaseException | None = None

    async def run(self, jobs: list[Job], first_task: Callable[[Dispatcher, Job], Task]) -> Summary:
        """Do all jobs. Raises WorkflowError when no worker is left or the output cannot be written."""
        self._waiting.extend(first_task(self, job) for job in jobs)
        self._open = {job.name for job in jobs}
        self._began = time.monotonic()
        serving = [asyncio.create_task(self._serve(slot)) for slot in self.slots]
        try:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: not self._open or self._stop or all(task.done() for task in serving)
                )
        finally:
            for task in serving:
                task.cancel()
            ended = await asyncio.gather(*serving, return_exceptions=True)
            self.summary.seconds = time.monotonic() - self._began
        if self._stop:
            raise self._stop
        if bugs := [end for end in ended if isinstance(end, Exception)]:
            raise bugs[0]
        if self._open:
            raise WorkflowError(
                f"no worker is left; {len(self._open)} jobs are not done. Run the command again to do them"
            )
        return self.summary

    async def _serve(self, slot: Slot) -> None:
        try:
            while True:
                task = await self._next()
                try:
                    outcome = await self._try(slot, task)
                except asyncio.CancelledError:
                    raise
                try:
                    self._account(slot, task, outcome)
                except OSError as error:
                    raise WorkflowError(
                        f"{task.job.row}: cannot write to {self.results.folder}: {error.strerror or error}. What is "
                        "done is kept; make room and run the command again"
                    ) from None
                async with self._changed:
                    self._changed.notify_all()
                if outcome.state == LOST and not await self._revive(slot):
                    return
        except WorkflowError as error:
            self._stop = error
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                async with self._changed:
                    self._changed.notify_all()

    async def _next(self) -> Task:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting))
            return self._waiting.popleft()

    async def _try(self, slot: Slot, task: Task) -> Outcome:
        try:
            contents = task.contents(slot.sent)
        except (OSError, WorkflowError) as error:
            return Outcome(FAILED, error=str(error))
        try:
            outcome = await slot.actor.run.remote(slot.index, task.prompt, list(task.files), contents)
        except (
            ray.exceptions.RayActorError,
            ray.exceptions.ObjectLostError,
            ray.exceptions.RayTaskError,
        ) as error:
            if isinstance(error, ray.exceptions.RayTaskError):
                raise  # a mistake in this program
            return Outcome(LOST, error="its process has died")
        if outcome.state != LOST:
            slot.sent.update(contents)
        slot.busy += outcome.seconds
        return outcome

    def _account(self, slot: Slot, task: Task, outcome: Outcome) -> None:
        if task.job.name not in self._open:  # another step of the same job failed meanwhile
            return
        if outcome.state == DONE:
            slot.done += 1
            try:
                self._waiting.extendleft(reversed(task.then(slot, outcome)))
            except WorkflowError as error:
                self.fail(task.job, slot, outcome.seconds, str(error))
            return
        if outcome.state == LOST:
            task.losses += 1
            if task.losses < MOST_LOSSES:
                self.say(f"{slot.name}: {_line(outcome.error)}; {task.job.row} goes to another")
                self._waiting.appendleft(task)
                return
            error = f"{task.losses} workers went away with this job, the last one: {_line(outcome.error)}"
        else:
            task.tries += 1
            if task.tries <= self.retries:
                self.say(f"{task.job.row}: {_line(outcome.error)} ({slot.name}); trying again")
                self._waiting.append(task)
                return
            error = outcome.error
        self.fail(task.job, slot, outcome.seconds, error)

    async def _revive(self, slot: Slot) -> bool:
        """Wait until a worker that went away is back. False when it does not come."""
        slot.sent.clear()
        deadline, pause, found = time.monotonic() + REVIVE_SECONDS, 0.5, ""
        while time.monotonic() < deadline:
            try:
                found = await slot.actor.describe.remote(slot.index, [], [])
                if isinstance(found, Description):
                    return True
            except ray.exceptions.RayActorError as error:
                found = str(error).splitlines()[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, 10)
        self.say(f"{slot.name} does not come back, and is left out: {_line(found)}")
        return False

    # ------------------------------------------------------------ what tasks call when they end

    def keep(self, job: Job, slot: Slot, seconds: float, files: Sequence[SavedFile]) -> None:
        """Write a job's files and its line. Raises OSError, and WorkflowError when there are none."""
        if not files:
            raise WorkflowError("the workflow saved nothing; it needs a node such as Save Video")
        names = []
        for number, file in enumerate(files, 1):
            names.append(f"{job.name}{'' if number == 1 else f'_{number}'}{file.suffix}")
            save(self.results.folder, names[-1], file.content)
        self.results.add(job, DONE, seconds, slot.name, names)
        self.summary.done += 1
        self.summary.video += sum(_video_seconds(file.content) for file in files if file.suffix in _VIDEOS)
        self._ended(job)

    def fail(self, job: Job, slot: Slot, seconds: float, error: str) -> None:
        self.results.add(job, FAILED, seconds, slot.name, [], error)
        self.summary.failed += 1
        self.summary.problems.append(f"{job.row}: {error}")
        self.say(f"{job.row} failed: {_line(error)}")
        self._waiting = deque(task for task in self._waiting if task.job.name != job.name)
        self._ended(job)

    def _ended(self, job: Job) -> None:
        self._open.discard(job.name)
        minutes = max(time.monotonic() - self._began, 1e-6) / 60
        self.bar.set_postfix_str(
            f"{self.summary.done / minutes:.1f} clips/min, {self.summary.video / minutes:.0f} s of video/min",
            refresh=False,
        )
        self.bar.update()


def whole_job(dispatcher: Dispatcher, job: Job) -> Task:
    """A job that one worker does alone."""

    def then(slot: Slot, outcome: Outcome) -> list[Task]:
        dispatcher.keep(job, slot, outcome.seconds, outcome.files)
        return []

    return Task(job, job.prompt(dispatcher.workflow), {file.stored: file for _, file in job.files}, then)


_VIDEOS = {".mp4", ".webm", ".mkv", ".mov"}


def _video_seconds(content: bytes) -> float:
    try:
        with av.open(io.BytesIO(content)) as video:
            return (video.duration or 0) / av.time_base
    except (av.FFmpegError, ValueError):
        return 0.0


def _line(text: str) -> str:
    """The last line of an error, where a log that it ends with has its reason, or the whole if it is short."""
    lines = text.split("\n")
    return text if len(lines) == 1 else f"{lines[0]} … {lines[-1].strip()}"
