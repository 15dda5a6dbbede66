"""One long clip on many workers, with the frames that one worker alone would make.

The motion of the whole clip is sampled once. Frames do not depend on each other when they are rendered and pasted, but
for one thing: Paste Back matches the colors of the whole clip. So the ranges are measured first, and all are pasted
with the sum of what was measured.
"""

from __future__ import annotations

import copy
import itertools
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_client import Prompt, WorkflowError
from safetensors import safe_open

from .join import Sound, join_videos
from .plan import Job
from .workers import Outcome, SavedFile

if TYPE_CHECKING:
    from .cluster import Slot
    from .dispatch import Dispatcher, Task

RENDER, PASTE = "DawnRenderFrames", "DawnPasteBack"
FRAME_BY_FRAME = {
    PASTE, "CreateVideo", "SaveVideo", "SaveImage", "ImageScale", "ImageScaleBy", "ImageScaleToTotalPixels",
    "ImageUpscaleWithModel", "ImageSharpen", "ImageBlur", "ImageCrop", "ImageInvert", "PreviewImage", "MaskPreview",
}  # fmt: skip
"""Nodes that treat a frame without looking at others."""

_MOTION, _COLORS = "fleet-motion", "fleet-colors-"
_FRAMES, _SOUND = 0, 1  # outputs of DAWN Render Frames
_MEASURED = 2  # output of DAWN Paste Back
_SMALL = 16  # pixels, of what is pasted only to be measured


class SplitRender:
    """How a workflow is cut. Raises WorkflowError, naming the node, for one that cannot be."""

    def __init__(self, workflow: Prompt, output_classes: set[str], parts: int) -> None:
        self.parts = parts
        renders = [node for node, entry in workflow.items() if entry["class_type"] == RENDER]
        if len(renders) != 1:
            raise WorkflowError(
                f"--split-render needs a workflow with one {RENDER}; this one has {len(renders)}"
            )
        (self.render,) = renders
        inputs = workflow[self.render]["inputs"]
        if not isinstance(inputs.get("motion"), list):
            raise WorkflowError(f"--split-render: motion of node {self.render} ({RENDER}) is not connected")
        if inputs.get("first_frame", 0) != 0 or inputs.get("last_frame", -1) != -1:
            raise WorkflowError(
                f"--split-render: node {self.render} ({RENDER}) renders a range already; set first_frame to 0 and "
                "last_frame to -1"
            )
        self.motion = inputs["motion"]
        below = _below(workflow, self.render)
        self.outputs = [node for node in below if workflow[node]["class_type"] in output_classes]
        self.others = [
            node
            for node, entry in workflow.items()
            if entry["class_type"] in output_classes and node not in below
        ]
        self.pastes = [node for node in below if workflow[node]["class_type"] == PASTE]
        self.sounds = [node for node in below if workflow[node]["class_type"] == "CreateVideo"]
        for node in below:
            self._check(workflow, node)

    def _check(self, workflow: Prompt, node: str) -> None:
        entry = workflow[node]
        name = f"--split-render: node {node} ({entry['class_type']})"
        if entry["class_type"] not in FRAME_BY_FRAME:
            raise WorkflowError(
                f"{name} may look at several frames at once; ranges could differ from the whole clip"
            )
        if node in self.sounds and entry["inputs"].get("audio") not in (None, [self.render, _SOUND]):
            raise WorkflowError(f"{name} must take its audio from node {self.render} ({RENDER})")
        if node in self.pastes:
            if entry["inputs"].get("first_frame", 0) != 0:
                raise WorkflowError(f"{name} must have first_frame 0")
            if set(_above(workflow, [node])) - {node} & set(self.pastes):
                raise WorkflowError(f"{name} pastes what another {PASTE} made; only one can be split")
        if any(
            isinstance(value, list) and value[0] == self.render and value[1] > _SOUND + 1
            for value in entry["inputs"].values()
        ):
            raise WorkflowError(f"{name} uses an unknown output of node {self.render}")  # fmt: skip

    def first_task(self, dispatcher: Dispatcher, job: Job) -> Task:
        return _SplitJob(self, dispatcher, job).sample()


@dataclass
class _SplitJob:
    plan: SplitRender
    dispatcher: Dispatcher
    job: Job
    seconds: float = 0.0
    motion: bytes = b""
    total: int = 0
    sound: Sound | None = None
    others: list[SavedFile] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    measured: dict[int, dict[str, str]] = field(default_factory=dict)
    rendered: dict[int, tuple[SavedFile, ...]] = field(default_factory=dict)

    def __post_init__(self):
        self.whole = self.job.prompt(self.dispatcher.workflow)

    # ------------------------------------------------------------ the motion, once

    def sample(self) -> Task:
        prompt = copy.deepcopy(self.whole)
        inputs = {"motion": self.plan.motion, "filename_prefix": "fleet/motion", "precision": "fp32"}
        prompt[_MOTION] = {"class_type": "DawnSaveMotion", "inputs": inputs}
        return self._task(_only(prompt, [*self.plan.others, _MOTION]), self._sampled)

    def _sampled(self, slot: Slot, outcome: Outcome) -> list[Task]:
        self.seconds += outcome.seconds
        self.others = [file for file in outcome.files if file.node != _MOTION]
        self.motion = next(file.content for file in outcome.files if file.node == _MOTION)
        self.total, self.sound = _read_motion(self.motion)
        parts = min(self.plan.parts, self.total)
        ends = [self.total * part // parts for part in range(parts + 1)]
        self.ranges = [(first, end - 1) for first, end in itertools.pairwise(ends)]
        if self._matched():
            return [self._measure(number) for number in range(parts)]
        return self._render_all()

    # ------------------------------------------------------------ the colors of all ranges

    def _matched(self) -> list[str]:
        """Nodes whose color match depends on which frames they get."""
        inputs = {node: self.whole[node]["inputs"] for node in self.plan.pastes}
        return [
            node for node, own in inputs.items() if own.get("colour_match", 1) != 0 and not own.get("colors")
        ]

    def _measure(self, number: int) -> Task:
        prompt = self._range(number)
        for node in self._matched():
            prompt[node]["inputs"]["longest_side"] = _SMALL
            prompt[_COLORS + node] = {"class_type": "PreviewAny", "inputs": {"source": [node, _MEASURED]}}
        shown = [_COLORS + node for node in self._matched()]

        def then(slot: Slot, outcome: Outcome) -> list[Task]:
            self.seconds += outcome.seconds
            self.measured[number] = {
                node: outcome.reports[_COLORS + node]["text"][0] for node in self._matched()
            }
            return self._render_all() if len(self.measured) == len(self.ranges) else []

        return self._task(_only(prompt, shown), then)

    # ------------------------------------------------------------ the frames

    def _render_all(self) -> list[Task]:
        colors = {
            node: _sum([self.measured[number][node] for number in self.measured]) for node in self._matched()
        }
        return [self._render(number, colors) for number in range(len(self.ranges))]

    def _render(self, number: int, colors: dict[str, str]) -> Task:
        prompt = self._range(number)
        for node, text in colors.items():
            prompt[node]["inputs"]["colors"] = text

        def then(slot: Slot, outcome: Outcome) -> list[Task]:
            self.seconds += outcome.seconds
            self.rendered[number] = outcome.files
            if len(self.rendered) == len(self.ranges):
                self.dispatcher.keep(self.job, slot, self.seconds, [*self._joined(), *self.others])
            return []

        return self._task(_only(prompt, self.plan.outputs), then)

    def _range(self, number: int) -> Prompt:
        """The workflow for one range, with the motion from the file."""
        prompt, (first, last) = copy.deepcopy(self.whole), self.ranges[number]
        stored = f"fleet/{self.job.digest[:24]}.motion.safetensors"
        prompt[_MOTION] = {"class_type": "DawnLoadMotion", "inputs": {"motion": stored}}
        for entry in prompt.values():
            for key, value in entry["inputs"].items():
                if value == self.plan.motion:
                    entry["inputs"][key] = [_MOTION, 0]
        prompt[self.plan.render]["inputs"] |= {"first_frame": first, "last_frame": last}
        for node in self.plan.pastes:
            if "motion" in prompt[node]["inputs"]:
                prompt[node]["inputs"]["first_frame"] = first
        for node in self.plan.sounds:
            prompt[node]["inputs"].pop("audio", None)
        return prompt

    def _joined(self) -> list[SavedFile]:
        files = []
        for node in self.plan.outputs:
            of_ranges = [
                [file for file in self.rendered[number] if file.node == node]
                for number in range(len(self.ranges))
            ]
            saved = [file for part in of_ranges for file in part]
            if self.whole[node]["class_type"] != "SaveVideo":
                files += saved
            elif saved:
                counts = [last - first + 1 for first, last in self.ranges]
                metadata = {"prompt": json.dumps(self.whole)}
                sound = self.sound if self._has_sound(node) else None
                content = join_videos([file.content for file in saved], counts, sound, metadata)
                files.append(SavedFile(node, saved[0].suffix, content))
        return files

    def _has_sound(self, node: str) -> bool:
        sounds = set(self.plan.sounds) & set(_above(self.whole, [node]))
        return any(self.whole[sound]["inputs"].get("audio") for sound in sounds)

    def _task(self, prompt: Prompt, then: Any) -> Task:
        from .dispatch import Task

        used = [
            value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, str)
        ]
        files: dict[str, Any] = {file.stored: file for _, file in self.job.files if file.stored in used}
        stored = prompt.get(_MOTION, {}).get("inputs", {}).get("motion")
        if isinstance(stored, str):
            files[stored] = self.motion
        return Task(self.job, prompt, files, then)


def _read_motion(content: bytes) -> tuple[int, Sound]:
    with tempfile.TemporaryDirectory(prefix="dawn-fleet-") as folder:
        path = Path(folder) / "motion.safetensors"
        path.write_bytes(content)
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            sound = Sound(file.get_tensor("waveform"), int(metadata["sample_rate"]))
    return int(metadata["frames"]), sound


def _sum(texts: list[str]) -> str:
    """What several nodes measured → that of all their frames; exact in any order (dawn_model's ColourSums)."""
    records = [json.loads(text) for text in texts]
    sums = [[sum(record["sums"][i][j] for record in records) for j in range(3)] for i in range(2)]
    return json.dumps({"frames": sum(record["frames"] for record in records), "sums": sums})


def _links(entry: dict[str, Any]) -> list[str]:
    return [value[0] for value in entry["inputs"].values() if isinstance(value, list) and len(value) == 2]


def _above(prompt: Prompt, nodes: list[str]) -> list[str]:
    """These nodes and all that they need."""
    found: dict[str, None] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in prompt and node not in found:
            found[node] = None
            waiting += _links(prompt[node])
    return list(found)


def _below(prompt: Prompt, node: str) -> list[str]:
    """All that need this node, in the workflow's order, without itself."""
    return [other for other in prompt if other != node and node in _above(prompt, [other])]


def _only(prompt: Prompt, outputs: list[str]) -> Prompt:
    kept = set(_above(prompt, outputs))
    return {node: entry for node, entry in prompt.items() if node in kept}
