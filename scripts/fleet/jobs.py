"""The table of jobs: CSV, JSON lines or Parquet, a row per job."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_client import WorkflowError

NAME = "name"
"""The column that names the output."""

_FORBIDDEN = set('\\/:*?"<>|')
"""Not in names of files: some systems do not have them, and the table of results separates files by |."""


@dataclass(frozen=True)
class Row:
    """number: counted from 1, without the line of column names; values: column → what stands there, nothing empty."""

    number: int
    name: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"row {self.number} ({self.name})"


def read_rows(path: Path) -> list[Row]:
    """The rows of a table, told apart by its ending: .csv, .jsonl (or .ndjson), .parquet.

    Raises WorkflowError for a table that cannot be read, has no rows, or has rows that cannot be told apart.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise WorkflowError(f"{path}: a table of jobs ends in {', '.join(_READERS)}")
    try:
        records = list(reader(path))
    except OSError as error:
        raise WorkflowError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise WorkflowError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, csv.Error) as error:
        raise WorkflowError(f"{path}: {error}") from None
    if not records:
        raise WorkflowError(f"{path} has no rows")
    rows, problems, seen = [], [], {}
    for number, record in enumerate(records, 1):
        values = {key: value for key, value in record.items() if value is not None and value != ""}
        name = str(values.pop(NAME, f"{number:0{max(4, len(str(len(records))))}}"))
        if problem := _name_problem(name):
            problems.append(f"row {number}: name: {name!r} {problem}")
        # Two names that differ in case only are one file on Windows and macOS.
        elif (other := seen.setdefault(name.casefold(), number)) != number:
            problems.append(f"row {number}: name: {name!r} is the name of row {other} too")
        rows.append(Row(number, name, values))
    if problems:
        raise WorkflowError("\n".join(problems))
    return rows


def _name_problem(name: str) -> str:
    if bad := "".join(sorted(set(name) & _FORBIDDEN)):
        return f"holds {bad}, which no file's name may"
    if not name.isprintable() or name != name.strip(" ."):
        return "begins or ends with a space or dot, or holds letters that cannot be shown"
    return "is longer than 180 bytes" if len(name.encode()) > 180 else ""


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = reader.fieldnames or []
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"column {sorted(twice)[0]!r} is there twice")
        for number, record in enumerate(reader, 1):
            if None in record:
                raise ValueError(f"row {number} has {len(record[None])} values more than there are columns")
            yield record


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except ValueError as error:
                raise ValueError(f"line {line} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise ValueError(
                    f'line {line} is not an object such as {{"name": "a", "LoadImage.image": "a.png"}}'
                )
            yield record


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet needs pyarrow: pip install -r requirements-fleet.txt") from None
    try:
        yield from parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"is not a Parquet file: {error}") from None


_READERS = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
