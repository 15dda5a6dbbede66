"""The table of results: a line for each job that ended, on the disk before the next one is waited for."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from comfy_client import WorkflowError

from .plan import Job

FILE = "results.csv"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Result:
    """seconds: what the server took; files: their names in the output folder, separated by |; job: its digest."""

    row: int
    name: str
    state: str
    seconds: float
    worker: str
    files: str
    error: str
    ended: str
    job: str


COLUMNS = [field.name for field in fields(Result)]


class Results:
    """The table in a folder: read once, then appended to.

    A line that was cut off, because the machine stopped while it was written, is removed.
    """

    def __init__(self, folder: Path) -> None:
        """Raises WorkflowError when the folder cannot be written to or its table is of another kind."""
        self.folder = folder
        self.path = folder / FILE
        self._last: dict[str, Result] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._read()
            if self._file.tell() == 0:
                self._write(COLUMNS)
        except OSError as error:
            raise WorkflowError(f"cannot write to {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        self._file.close()

    def is_done(self, job: Job) -> bool:
        """Whether this very job, files and all, was done and its files are still there."""
        last = self._last.get(job.name)
        return (
            last is not None
            and last.state == DONE
            and last.job == job.digest
            and all((self.folder / file).is_file() for file in last.files.split("|"))
        )

    def add(
        self, job: Job, state: str, seconds: float, worker: str, files: list[str], error: str = ""
    ) -> Result:
        """Raises OSError when the disk does not take it."""
        ended = time.strftime("%Y-%m-%d %H:%M:%S")
        error = " ".join(error.split())
        result = Result(
            job.row.number,
            job.name,
            state,
            round(seconds, 3),
            worker,
            "|".join(files),
            error,
            ended,
            job.digest,
        )
        self._write([str(value) for value in asdict(result).values()])
        self._last[job.name] = result
        return result

    def _write(self, values: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        data = line.getvalue().encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._file = _reopened(self._file, self.path)
            self._file.truncate(end)  # half a line would hide the next one
            raise

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        with fields_up_to(len(whole)):
            reader = csv.DictReader(io.StringIO(whole.decode(errors="replace"), newline=""))
            if whole and reader.fieldnames != COLUMNS:
                raise WorkflowError(f"{self.path} is not a table of results; choose another --output")
            for record in reader:
                try:
                    result = Result(
                        **{**record, "row": int(record["row"]), "seconds": float(record["seconds"])}
                    )
                except (TypeError, ValueError):
                    raise WorkflowError(
                        f"{self.path}, line {reader.line_num}: cannot be read; remove it"
                    ) from None
                self._last[result.name] = result


@contextmanager
def fields_up_to(characters: int) -> Iterator[None]:
    """Lets `csv` read fields of that length: ten minutes of saved frames are 15,000 names in one, and it stops at
    131,072 characters. The limit is the whole process's, so it is put back."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, characters))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _reopened(file: io.BufferedRandom, path: Path) -> io.BufferedRandom:
    """The file without what it still holds and could not write."""
    descriptor = file.raw
    descriptor.close()
    return path.open("a+b")


def save(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError."""
    partial = folder / f"{name}.partial"
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / name)
    finally:
        partial.unlink(missing_ok=True)
