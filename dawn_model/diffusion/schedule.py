"""The cosine noise schedule and the timesteps that a sampler visits (docs/model.md, "Sampler")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """alphas_cumprod [T]: share of signal left after t steps of noise, float64 on the CPU."""

    alphas_cumprod: Tensor

    @property
    def timesteps(self) -> int:
        return self.alphas_cumprod.shape[0]

    def alpha(self, timestep: int) -> float:
        return float(self.alphas_cumprod[timestep])

    def previous_alpha(self, timestep: int) -> float:
        """The value one index earlier, and 1 at timestep 0."""
        return float(self.alphas_cumprod[timestep - 1]) if timestep > 0 else 1.0

    def log_snr(self, timestep: int) -> float:
        """Logarithm of the ratio of signal to noise amplitude: the time in which solvers of higher order step."""
        alpha = self.alpha(timestep)
        return 0.5 * math.log(alpha / (1 - alpha))


def cosine_schedule(timesteps: int = 1000, offset: float = 0.008) -> Schedule:
    """Squared-cosine decay of the signal, with each step's noise share clipped to 0.9999."""
    position = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    signal = torch.cos((position + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - signal[1:] / signal[:-1]).clamp(0, 0.9999)
    return Schedule(alphas_cumprod=(1 - betas).cumprod(0))


def sampling_timesteps(steps: int, timesteps: int = 1000) -> list[int]:
    """`steps` + 1 descending timesteps that end at 0, evenly spaced in exact integers.

    Raises ValueError unless 1 ≤ steps < timesteps.
    """
    _check(steps, timesteps)
    return [timesteps * i // (steps + 1) for i in range(steps, -1, -1)]


def trailing_timesteps(steps: int, timesteps: int = 1000) -> list[int]:
    """`steps` + 1 descending timesteps that begin where next to no signal is left, and end at 0.

    Sampling starts from noise alone. A network that is told of an early timestep expects a signal in it, and where
    there is none it predicts too little: the fewer the steps, the less ("trailing" in Lin et al. 2023,
    arXiv 2305.08891, section 3.3). At 0.99 of the way 1.4 % of the amplitude are signal; later ones would lose float32
    digits in the way from the clean latents to the noise and back.

    Raises ValueError unless 1 ≤ steps < timesteps.
    """
    _check(steps, timesteps)
    first = timesteps * 99 // 100
    return [first * i // steps for i in range(steps, -1, -1)]


def _check(steps: int, timesteps: int) -> None:
    if not 1 <= steps < timesteps:
        raise ValueError(f"steps is {steps}; use a whole number from 1 to {timesteps - 1}")
