"""A workflow and the rows of a table → jobs, all rows checked before the first one runs."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_client import Prompt, WorkflowError, nodes_named

from .catalogue import Catalogue, Input
from .jobs import Row

Place = tuple[str, str]
"""Id of a node and name of its input."""


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine that a job needs; `stored` is its name in a server's input folder.

    That name comes from the content, so that files of one name do not meet and the same file is sent once.
    """

    path: Path
    digest: str

    @property
    def stored(self) -> str:
        return f"fleet/{self.digest[:24]}{self.path.suffix.lower()}"


@dataclass(frozen=True)
class Job:
    """One row, checked: what it changes in the workflow, the files it needs, and a digest of all of it."""

    row: Row
    values: tuple[tuple[Place, Any], ...]
    files: tuple[tuple[Place, LocalFile], ...]
    digest: str

    @property
    def name(self) -> str:
        return self.row.name

    def prompt(self, workflow: Prompt) -> Prompt:
        prompt = copy.deepcopy(workflow)
        for (node, key), value in self.values:
            prompt[node]["inputs"][key] = value
        for (node, key), file in self.files:
            prompt[node]["inputs"][key] = file.stored
        return prompt


class Digests:
    """SHA-256 of files, each read once."""

    def __init__(self) -> None:
        self._known: dict[Path, LocalFile] = {}

    def of(self, path: Path) -> LocalFile:
        """Raises OSError for a file that cannot be read."""
        if path not in self._known:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
            self._known[path] = LocalFile(path, digest.hexdigest())
        return self._known[path]


class _Column:
    """One column of the table: the inputs that it fills."""

    def __init__(self, title: str, workflow: Prompt, catalogue: Catalogue) -> None:
        """Raises ValueError that says why a column of this title cannot be used."""
        name, dot, key = title.partition(".")
        if not (dot and key):
            raise ValueError("expected Class.input or id.input, or name")
        nodes = nodes_named(workflow, name)
        if not nodes:
            known = ", ".join(f"{node} ({workflow[node]['class_type']})" for node in workflow)
            raise ValueError(f"no node {name} in the workflow; it has {known}")
        class_type = workflow[nodes[0]]["class_type"]
        inputs = catalogue.inputs(class_type)
        # Inputs that depend on a choice are in the workflow and in no list.
        if key not in inputs and key not in workflow[nodes[0]]["inputs"]:
            raise ValueError(f"{class_type} has no input {key}; it has {', '.join(inputs)}")
        self.title = title
        self.places = [(node, key) for node in nodes]
        self.input = inputs.get(key, Input("", {}))
        if self.input.kind and self.input.is_socket:
            raise ValueError(f"{key} of {class_type} is a connection, which a table cannot make")

    def read(self, value: Any, folders: tuple[Path, ...], digests: Digests) -> Any:
        """A value for the server, or a LocalFile. Raises ValueError."""
        return _read(self.input, value, folders, digests)


def _read(input: Input, value: Any, folders: tuple[Path, ...], digests: Digests) -> Any:
    if input.kind == "":
        return _json_or_text(value)
    if input.takes_file or (input.kind == "COMBO" and value not in input.choices):
        file = _find(value, folders)
        if file is not None:
            try:
                return digests.of(file)
            except OSError as error:
                raise ValueError(f"cannot read {file}: {error.strerror}") from None
        if input.takes_file and value not in input.choices:
            raise ValueError(f"no file {value} in {' or '.join(map(str, folders))}, nor on the server")
    return input.read(value)


def _find(value: Any, folders: Iterable[Path]) -> Path | None:
    if not isinstance(value, str):
        return None
    for folder in folders:
        try:
            if (path := folder / value).is_file():
                return path
        except (OSError, ValueError):  # what no file can be called
            return None
    return None


def _json_or_text(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def plan_jobs(
    workflow: Prompt,
    rows: list[Row],
    catalogue: Catalogue,
    workflow_folder: Path,
    table_folder: Path,
) -> list[Job]:
    """Check every row and make its job.

    Args:
        catalogue:       of a server that will run them
        workflow_folder: where files that the workflow itself names are looked for, after `table_folder`
        table_folder:    where files that rows name are looked for

    Raises WorkflowError with a line for every problem of every row.
    """
    missing = {node["class_type"]: id for id, node in workflow.items() if node["class_type"] not in catalogue}
    if missing:
        raise WorkflowError(
            "\n".join(f"node {id}: the server has no node {name}" for name, id in missing.items())
        )
    digests, problems = Digests(), []
    columns: dict[str, _Column] = {}
    for title in dict.fromkeys(key for row in rows for key in row.values):
        try:
            columns[title] = _Column(title, workflow, catalogue)
        except ValueError as error:
            problems.append(f"column {title}: {error}")
    folders = (table_folder, workflow_folder) if table_folder != workflow_folder else (table_folder,)
    fixed, unresolved = _files_of_workflow(workflow, catalogue, folders, digests)
    jobs = []
    for row in rows:
        values, files = {}, dict(fixed)
        for title, value in row.values.items():
            column = columns.get(title)
            if column is None:
                continue
            try:
                read = column.read(value, (table_folder,), digests)
            except ValueError as error:
                problems.append(f"{row}: {title}: {error}")
                files.update(dict.fromkeys(column.places))
                continue
            for place in column.places:
                target, other = (files, values) if isinstance(read, LocalFile) else (values, files)
                target[place] = read
                other.pop(place, None)
        for place, problem in unresolved.items():
            if place not in values and place not in files:
                problems.append(f"{row}: {problem}")
        if not problems:
            jobs.append(_job(workflow, row, values, files))
    if problems:
        raise WorkflowError("\n".join(problems))
    return jobs


def _files_of_workflow(
    workflow: Prompt, catalogue: Catalogue, folders: tuple[Path, ...], digests: Digests
) -> tuple[dict[Place, LocalFile], dict[Place, str]]:
    """Files that the workflow names, and what is wrong with those of them that are nowhere."""
    found, unresolved = {}, {}
    for node, entry in workflow.items():
        inputs = catalogue.inputs(entry["class_type"])
        for key, value in entry["inputs"].items():
            if isinstance(value, list) or key not in inputs or not inputs[key].takes_file:
                continue
            try:
                read = _read(inputs[key], value, folders, digests)
            except ValueError as error:
                unresolved[node, key] = f"{entry['class_type']}.{key} of the workflow: {error}"
                continue
            if isinstance(read, LocalFile):
                found[node, key] = read
    return found, unresolved


def _job(workflow: Prompt, row: Row, values: dict[Place, Any], files: dict[Place, LocalFile]) -> Job:
    job = Job(row, tuple(values.items()), tuple(files.items()), "")
    nodes = {node: [entry["class_type"], dict(entry["inputs"])] for node, entry in workflow.items()}
    for (node, key), value in job.values:
        nodes[node][1][key] = value
    for (node, key), file in job.files:
        nodes[node][1][key] = {"sha256": file.digest}
    text = json.dumps(nodes, sort_keys=True, ensure_ascii=False)
    return Job(row, job.values, job.files, hashlib.sha256(text.encode()).hexdigest())
