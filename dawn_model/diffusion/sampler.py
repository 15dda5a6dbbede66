"""Samplers: functions over a denoiser that turn noise into motion latents (docs/model.md, "Sampler")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .noise import DrawnAhead
from .schedule import Schedule, sampling_timesteps

Denoise = Callable[[Tensor, int], Tensor]
"""(x [B, 3, F, h, w], timestep) → predicted noise of the same shape."""

Spacing = Callable[[int, int], list[int]]
"""(steps, timesteps of the schedule) → steps + 1 descending timesteps, the last of them 0."""

Noise = Callable[[int], Tensor]
"""Number of the draw → noise shaped like x; draw 0 is the starting point."""

Callback = Callable[[int, int, Tensor], None]
"""(step from 1, steps, current estimate of the clean latents). May raise to stop the sampling."""

THRESHOLD_QUANTILE = 0.9


def guided(conditional: Denoise, unconditional: Denoise, scale: float) -> Denoise:
    """Classifier-free guidance: move away from the unconditional prediction by `scale`."""

    def denoise(x: Tensor, timestep: int) -> Tensor:
        null = unconditional(x, timestep)
        return null + (conditional(x, timestep) - null) * scale

    return denoise


def quantile(magnitudes: Tensor, q: float) -> Tensor:
    """Linearly interpolated quantile of all values of each batch item, [B, …] → [B]; values are 0 or more.

    By selection; unlike torch.quantile it has no limit on the number of values.
    """
    flat = magnitudes.flatten(1)
    rank = q * (flat.shape[1] - 1)
    low = math.floor(rank)
    if flat.device.type == "cpu":
        # numpy's introselect is linear in the worst case; torch.kthvalue is quadratic there.
        high = min(low + 1, flat.shape[1] - 1)
        ordered = torch.from_numpy(np.partition(flat.numpy(), (low, high), axis=1))
        lower, upper = ordered[:, low], ordered[:, high]
    elif flat.is_cuda:
        lower, upper = select_by_topk(flat.float(), low)
    else:
        lower, upper = select_by_bisection(flat.float(), low)
    return lower + (upper - lower) * (rank - low)


def select_by_topk(flat: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The values of rank `rank` (from 0) and of the next rank (or the same, if it is the last) in [B, n]; [B] each.

    Two calls instead of the 217 of `select_by_bisection`. CUDA finds the largest values by radix, in many blocks;
    for ranks near the end they are few. Elsewhere `topk` is slow, or limited in their number.
    """
    largest = flat.topk(flat.shape[1] - rank, sorted=False).values
    smallest = largest.topk(min(2, largest.shape[1]), largest=False).values
    return smallest[:, 0], smallest[:, -1]


def select_by_bisection(flat: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The values of rank `rank` (from 0) and of the next rank (or the same, if it is the last) in [B, n] float32
    values of 0 or more; [B] each.

    Such floats are ordered as their bits are, so 31 counts find the value exactly. Any device counts fast, and
    sorting would need five times the memory.
    """
    bits = flat.view(torch.int32)
    low = torch.zeros(len(flat), 1, dtype=torch.int32, device=flat.device)
    high = torch.full_like(low, 2**31 - 1)
    for _ in range(31):
        middle = low + (high - low) // 2
        reached = (bits <= middle).sum(1, keepdim=True) > rank
        low, high = torch.where(reached, low, middle + 1), torch.where(reached, middle, high)
    above = torch.where(bits > low, bits, torch.full_like(low, 2**31 - 1)).amin(1, keepdim=True)
    at_most = (bits <= low).sum(1, keepdim=True)
    repeated = (at_most > rank + 1) | (at_most == flat.shape[1])
    following = torch.where(repeated, low, above)
    return low.view(torch.float32)[:, 0], following.view(torch.float32)[:, 0]


def dynamic_threshold(x0: Tensor) -> Tensor:
    """Clamp to the 0.9-quantile of |x0| over the whole clip (at least 1) and rescale to -1..1."""
    limit = quantile(x0.abs().float(), THRESHOLD_QUANTILE).clamp(min=1.0)
    limit = limit.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-limit, limit).div_(limit)


def clean_estimate(x: Tensor, predicted: Tensor, alpha: float, threshold: bool = True) -> Tensor:
    """The clean latents, thresholded unless told otherwise, given the noise in x; alpha is the share of signal in x."""
    clean = (math.sqrt(1 / alpha) * x).sub_(predicted, alpha=math.sqrt(1 / alpha - 1))
    return dynamic_threshold(clean) if threshold else clean


def ddim_sample(
    denoise: Denoise,
    noise: Noise,
    schedule: Schedule,
    steps: int = 20,
    eta: float = 1.0,
    callback: Callback | None = None,
    threshold: bool = True,
    spacing: Spacing = sampling_timesteps,
) -> Tensor:
    """Denoising diffusion implicit models over the whole clip at once.

    Draws the starting point (draw 0) and, for eta > 0, one noise tensor per step but the
    last (draws 1, 2, …). The clean estimate is clamped, the predicted noise is not derived
    anew from it, and the step coefficients are one index behind the estimate's: that is how
    the authors' weights were evaluated.

    threshold: whether the clean estimate is held to -1..1; the embedded model's latents have no such bound
    spacing: the timesteps to visit

    Returns motion latents, shaped like noise(0).
    Raises ValueError when `steps` or `eta` are out of range.
    """
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta is {eta}; use a number from 0 (deterministic) to 1 (the paper's setting)")
    timesteps = spacing(steps, schedule.timesteps)
    x = noise(0)
    for step, (now, following) in enumerate(itertools.pairwise(timesteps), start=1):
        predicted = denoise(x, now)
        x0 = clean_estimate(x, predicted, schedule.alpha(now), threshold)
        if callback:
            callback(step, steps, x0)
        if following == 0:
            return x0
        alpha, alpha_next = schedule.previous_alpha(now), schedule.previous_alpha(following)
        sigma = eta * math.sqrt((1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha))
        x = (math.sqrt(alpha_next) * x0).add_(predicted, alpha=math.sqrt(1 - alpha_next - sigma**2))
        del predicted, x0  # long clips are large: nothing is held that the next step does not need
        if sigma > 0:
            x.add_(noise(step), alpha=sigma)
    raise AssertionError("the timesteps end at 0")


def dpmpp_2m_sample(
    denoise: Denoise,
    noise: Noise,
    schedule: Schedule,
    steps: int = 10,
    callback: Callback | None = None,
    threshold: bool = True,
    spacing: Spacing = sampling_timesteps,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2) over the whole clip at once.

    Deterministic after the starting point (draw 0). Each step extrapolates the clean estimate from this and
    the last one in log-SNR, so the error falls with the square of the step; the first and the last step, which
    lack a neighbour or a finite log-SNR to go to, are of first order.

    Returns motion latents, shaped like noise(0).
    Raises ValueError when `steps` is out of range.
    """
    timesteps = spacing(steps, schedule.timesteps)
    x, last, last_width = noise(0), None, 0.0
    for step, (now, following) in enumerate(itertools.pairwise(timesteps), start=1):
        x0 = clean_estimate(x, denoise(x, now), schedule.alpha(now), threshold)
        if callback:
            callback(step, steps, x0)
        if following == 0:
            return x0
        width = schedule.log_snr(following) - schedule.log_snr(now)
        estimate = x0 if last is None else torch.lerp(last, x0, 1 + width / (2 * last_width))
        alpha, alpha_next = schedule.alpha(now), schedule.alpha(following)
        x = math.sqrt((1 - alpha_next) / (1 - alpha)) * x
        x.sub_(estimate, alpha=math.sqrt(alpha_next) * math.expm1(-width))
        last, last_width = x0, width
    raise AssertionError("the timesteps end at 0")


def motion_channels(x0: Tensor) -> tuple[Tensor, Tensor]:
    """Split sampled latents [1, 3, F, h, w] into flow [F, h, w, 2] and occlusion [F, 1, h, w]."""
    frames_first = x0[0].transpose(0, 1)
    return frames_first[:, :2].permute(0, 2, 3, 1), (frames_first[:, 2:] + 1) / 2


def latent_noise(
    noise: Callable[..., Tensor], frames: int, height: int, width: int, like: Tensor, draws: int = 1
) -> Noise:
    """Per-frame noise as draws of shape [1, 3, F, height, width] on `like`'s device and dtype.

    draws: how many the sampler will ask for; beside a device, the next one is made while it computes
    """
    if like.device.type != "cpu":
        noise = DrawnAhead(noise, draws)

    def draw(number: int) -> Tensor:
        per_frame = torch.as_tensor(noise(number, frames, 3, height, width))
        if like.is_cuda:
            per_frame = per_frame.pin_memory()  # from there a copy does not make the host wait
        return per_frame.to(like.device, non_blocking=True).transpose(0, 1)[None].to(like)

    return draw
