"""Runs API-format prompts in a real ComfyUI: in this process (fast, sees tensors) or over a server."""

from .in_process import InProcessComfy
from .results import Interrupted, NodeFailed, Progress, PromptRejected, Run
from .server import ServerComfy

__all__ = [
    "InProcessComfy",
    "Interrupted",
    "NodeFailed",
    "Progress",
    "PromptRejected",
    "Run",
    "ServerComfy",
]
