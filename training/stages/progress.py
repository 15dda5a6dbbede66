"""What all trainings share: options, a schedule, averaged weights, resumable checkpoints, a log."""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

WARM_UP_STEPS = 100
FINAL_RATE = 0.02
_AVERAGE = 0.999


def options_of(
    description: str, out: Path, steps: int, batch: int, rate: float, clips: Path | None = None
) -> argparse.ArgumentParser:
    """Options that every training has, with its own defaults; and those of one that learns from the clips, if given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=out)
    if clips:
        parser.add_argument("--device", default="cpu")
        parser.add_argument("--clips", type=Path, default=clips)
        parser.add_argument("--limit", type=int, help="use only the first so many clips")
        parser.add_argument("--start", type=Path, help="a model file whose weights it begins with")
    return parser


class Progress:
    """Counts steps and minutes over all sessions of one training.

    networks: trained together
    `average` holds running means of their weights, which are what is exported.
    """

    def __init__(
        self, networks: nn.ModuleDict, path: Path, rate: float, steps: int, weight_decay: float = 1e-4
    ):
        self.networks, self.path, self.rate, self.steps = networks, path, rate, steps
        self.average = copy.deepcopy(networks).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            [p for p in networks.parameters() if p.requires_grad],
            lr=rate,
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
        )
        self.step, self._spent, self._begun, self._sums = 0, 0.0, time.time(), {}
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            networks.load_state_dict(saved["networks"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step, self._spent = saved["step"], saved["spent"]
            print(f"going on from step {self.step}, minute {self._spent / 60:.1f}", flush=True)

    @property
    def spent(self) -> float:
        """Minutes of training so far."""
        return (self._spent + time.time() - self._begun) / 60

    @property
    def share(self) -> float:
        """How much of the training is done, 0 to 1."""
        return min(1.0, self.step / self.steps)

    @property
    def unfinished(self) -> bool:
        return self.share < 1

    def update(self, loss: torch.Tensor, **figures: float) -> None:
        """One optimiser step: linear warm-up, cosine decay over the training, gradients clipped to norm 1."""
        decay = 0.5 * (1 + math.cos(math.pi * self.share))
        rate = self.rate * min(1.0, (self.step + 1) / WARM_UP_STEPS) * max(FINAL_RATE, decay)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(_AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.networks.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)
        for name, value in {"loss": loss, **figures}.items():
            self._sums[name] = self._sums.get(name, 0) + torch.as_tensor(value).detach()

    def run(
        self,
        step: Callable[[], tuple[torch.Tensor, dict[str, torch.Tensor]]],
        every: int = 500,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Train until done. `step` returns a loss and figures for the log; every so many steps the state is saved and
        `check` called."""
        while self.unfinished:
            loss, figures = step()
            self.update(loss, **figures)
            self.report(50)
            if self.step % every == 0:
                self.save()
                if check:
                    check()
        self.save()

    def report(self, every: int) -> None:
        """Print the means of the last `every` steps as one line of name=value pairs."""
        if self.step % every:
            return
        means = " ".join(f"{name}={float(value) / every:.5f}" for name, value in self._sums.items())
        print(f"step={self.step} minute={self.spent:.2f} {means}", flush=True)
        self._sums = {}

    def save(self) -> None:
        unfinished = self.path.with_suffix(".tmp")
        torch.save(
            {
                "networks": self.networks.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "spent": self.spent * 60,
            },
            unfinished,
        )
        os.replace(unfinished, self.path)
