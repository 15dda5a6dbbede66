"""What a run in ComfyUI gives a test, and the three ways in which it can fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

Prompt = dict[str, dict[str, Any]]  # API format: node id → {"class_type", "inputs"}


class Progress(NamedTuple):
    node: str
    value: float
    total: float


@dataclass
class Run:
    executed: list[str] = field(default_factory=list)  # ids of the nodes that ran, in order
    cached: list[str] = field(default_factory=list)  # ids of the nodes whose earlier outputs were used
    ui: dict[str, dict[str, Any]] = field(default_factory=dict)  # what output nodes showed: files, text
    progress: list[Progress] = field(default_factory=list)  # in process only
    previews: list[tuple[str, Any]] = field(default_factory=list)  # (node, PIL image); in process only
    outputs: dict[str, list[list[Any]]] = field(default_factory=dict)  # in process only

    def output(self, node: str, slot: int = 0) -> Any:
        """The value on one output socket."""
        (value,) = self.outputs[node][slot]
        return value


class PromptRejected(Exception):
    """ComfyUI refused the prompt before running anything (over HTTP: status 400)."""

    def __init__(self, error: Any, node_errors: dict[str, Any]) -> None:
        self.error = error
        self.node_errors = node_errors
        details = [
            f"node {node} ({report['class_type']}): {problem['message']}: {problem['details']}"
            for node, report in node_errors.items()
            for problem in report["errors"]
        ]
        super().__init__("\n".join(details) or str(error))


class NodeFailed(Exception):
    """A node raised; `message` is what the user reads on it."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.node = report["node_id"]
        self.node_type = report["node_type"]
        self.exception_type = report["exception_type"]
        self.message = report["exception_message"].strip()
        self.traceback = "".join(report["traceback"])
        super().__init__(f"node {self.node} ({self.node_type}): {self.exception_type}: {self.message}")


class Interrupted(Exception):
    """The run was cancelled while `node` was running."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.node = report["node_id"]
        super().__init__(f"interrupted in node {self.node} ({report['node_type']})")


def raise_if_failed(messages: list[tuple[str, dict[str, Any]]]) -> None:
    """Turn ComfyUI's status messages into the exception they tell of."""
    for event, data in messages:
        if event == "execution_error":
            raise NodeFailed(data)
        if event == "execution_interrupted":
            raise Interrupted(data)
