"""What the page shows of a running node: a progress bar, a line of text, a preview."""

from __future__ import annotations

import logging
import time

import comfy.model_management as mm
import comfy.utils
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer
from torch import Tensor

from .bar_shares import SHARES

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TEXTS = 0.2
OUTER_BAR = 1000
"""Length of a progress bar that several stages share."""


class Progress:
    """A node's progress bar, with what is going on in words, as in "sampling 3/4".

    Updating it is also how ComfyUI cancels the node. A stage inside another node moves its part of that node's bar.
    """

    def __init__(self, total: int, what: str):
        self._total = total
        self._what = what
        self._said = 0.0  # when the words were last sent; a message for every frame would load the page
        self._share = _share_of_outer_bar()
        self._bar = comfy.utils.ProgressBar(total)
        if self._share is not None:  # else that bar jumps back until the first step is done
            self._move(0, None)

    def of(self, total: int) -> None:
        """How many there will be, where that shows only on the way."""
        self._total = self._bar.total = total

    def update(self, done: int, preview: Tensor | None = None) -> None:
        """preview: RGB [3, H, W] in 0..1 to show on the node."""
        mm.throw_exception_if_processing_interrupted()
        if done >= self._total or time.monotonic() - self._said > SECONDS_BETWEEN_TEXTS:
            show_text(f"{self._what} {done}/{self._total}")
            self._said = time.monotonic()
        image = None
        if preview is not None:
            image = ("JPEG", _to_pil(preview), 512)
        self._move(done, image)

    def _move(self, done: int, image: tuple | None) -> None:
        if self._share is None:
            self._bar.update_absolute(done, self._total, image)
            return
        start, end = self._share
        part = start + (end - start) * min(1.0, done / max(1, self._total))
        self._bar.update_absolute(round(OUTER_BAR * part), OUTER_BAR, image)


def outer_node() -> str | None:
    """The class of the node that the running one is an inner stage of; None where it stands for itself."""
    context = get_executing_context()
    if context is None:
        return None
    prompt = get_progress_state().dynprompt
    shown = prompt.get_display_node_id(context.node_id)
    return None if shown == context.node_id else prompt.get_node(shown)["class_type"]


def _share_of_outer_bar() -> tuple[float, float] | None:
    """From where to where, 0..1, the running node moves the bar of the node that it is a stage of; None where its bar
    is its own."""
    outer = outer_node()
    if outer is None:
        return None
    context = get_executing_context()
    running = get_progress_state().dynprompt.get_node(context.node_id)["class_type"]
    return SHARES.get(outer, {}).get(running)


def show_text(text: str) -> None:
    """Show a line of text on the node that runs now, or on the node that it is an inner stage of.

    Does nothing where no server runs (tests, scripts): there is no page to show it on.
    """
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return
    shown = get_progress_state().dynprompt.get_display_node_id(context.node_id)
    server.send_progress_text(text, shown)


def advise(sentences: list[str], name: str) -> None:
    """Show what may disappoint on the node, and say it in the log; `name` is the input that it is about."""
    for sentence in sentences:
        log.warning("DAWN: %s: %s", name, sentence)
    if sentences:
        show_text("\n".join(sentences))


def _to_pil(picture: Tensor):
    from PIL import Image

    pixels = (picture.float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    return Image.fromarray(pixels)
