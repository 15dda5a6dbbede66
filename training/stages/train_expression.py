"""Stage 6: the denoiser learns to draw from noise what no condition says: brows, gaze, squint, a passing smile.

After stage 5 it is conditioned on all of that. Here the same network is the teacher of one without this condition,
which sees the noisy latents alone and learns what faces do, as any diffusion model does. The motion fields stay as they
are, so everything takes place in their coefficients, without a picture, and scenes may be longer than the clips.

    python -m training.stages.train_expression --steps 4500
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dawn_model.denoiser.compact import CompactDenoiser, unit_fields
from dawn_model.denoiser.conditioning import mouth_condition
from dawn_model.denoiser.face_code import BLINK_UNIT, MOUTH_UNIT
from dawn_model.diffusion.schedule import cosine_schedule

from ..clips.dataset import ClipStore
from ..clips.scenario import (
    blink_curve,
    expression_of,
    eye_ratio,
    living_expression,
    random_phones,
    smooth_noise,
)
from ..paths import CLIPS, REAL_SPEECH, WORK
from ..speech.labels import articulation_of, read_phones
from .initial import begin_from, new_networks
from .progress import Progress, options_of
from .train_motion import CHECKPOINT as MOTION

CHECKPOINT = WORK / "expression.pt"
_FACE_WEIGHT = 10.0
"""How much more cells of mouth, eyes and brows count."""
_STRENGTH = (1.6, 1.6, 0.3, 1.0, 4.0, 3.0)
"""How far each of `EXPRESSIONS` goes, beside the scenario. Set by finished frames: brows deviate by .025 to .04 iris
distances in real ones; gaze moves less far than its condition says; a smile twice as strong is a grimace."""
_NEUTRAL = 0.3
"""Share of the samples without noise and with a neutral expression: what `expression` of 0 asks for."""
_STILL, _HELD = 0.15, 0.35
"""Share of the scenes whose condition is zero, and in which the head is held."""
_TEACHER_TIMESTEP = 952
"""So late that the noisy latents say nothing: the teacher follows its conditions alone."""
_EXPRESSION_COST = 0.002
"""What an error as large as an expression's own deviation costs: about as much as all cells together do when no
expression is drawn. A gaze moves few cells, and in the latents' error alone a smile outweighs it a hundred times."""
_LEAST_DEVIATION = 0.3
"""Below it an expression's error is compared with this: some of every mouth's motion looks like a faint smile."""
_EARLIEST, _LATEST = 0.25, 4.0
"""Limits of the ratio of signal to noise, by which errors of the expression count: what is drawn must be kept in later
steps, where it is nearly seen (Hang et al. 2023, arXiv 2303.09556)."""


@dataclass(frozen=True)
class Scene:
    """One portrait and what it does in F frames, in its K motion fields; several of them with a leading axis B.

    condition [F, 27]; summary [width]: of the portrait
    target, neutral [F, K]: coefficients with the expression, and with a neutral one
    target_projection, neutral_projection [F, K]: how much of each field the latents of those hold
    noise_factor [K, K]: Cholesky factor of the covariance that noise in the latents has along the fields
    metric [K, K]: coefficients' errors e cost eᵀ·metric·e, the squared error of the latents' cells
    expression_error [6, K]: coefficients' errors → errors of each of `EXPRESSIONS`, in its own deviations
    """

    condition: Tensor
    summary: Tensor
    target: Tensor
    neutral: Tensor
    target_projection: Tensor
    neutral_projection: Tensor
    noise_factor: Tensor
    metric: Tensor
    expression_error: Tensor


def random_condition(
    rng: np.random.Generator, phones: list, eyes: Tensor, mouth: Tensor, frames: int
) -> Tensor:
    """Condition rows [F, 27] of somebody's speech on a portrait whose eyes [2] and mouth [2] are open so far."""
    articulation = torch.from_numpy(articulation_of(phones, frames))
    mouth_rows = mouth_condition(articulation, mouth, rng.uniform(0.4, 1.1))
    swing = np.array([rng.uniform(0, 8), rng.uniform(0, 6), rng.uniform(0, 5)]) * (rng.random() >= _HELD)
    pose = np.zeros((frames, 6), np.float32)
    pose[:, :3] = np.stack([s * smooth_noise(rng, frames, rng.uniform(0.8, 2)) for s in swing], axis=1)
    lids = eye_ratio(eyes.numpy(), blink_curve(rng, frames, often=False)) - eyes.numpy()
    row = torch.cat([mouth_rows, torch.from_numpy(pose), torch.from_numpy(lids).float()], dim=1)
    return row * float(rng.random() >= _STILL)


class SceneMaker:
    """Makes scenes with a denoiser that is conditioned on the expression."""

    def __init__(self, teacher: CompactDenoiser, store: ClipStore, frames: int, noise: float = 1.0):
        """noise: deviation of what the teacher gets for noisy latents; 0 if it has learned already to draw from them"""
        self.teacher, self.store, self.frames, self.noise = teacher, store, frames, noise
        self.utterances = list(read_phones(REAL_SPEECH / "phones.tsv").values())
        rng = np.random.default_rng(0)
        lives = [expression_of(living_expression(rng, frames)) for _ in range(100)]
        deviation = np.float32(_STRENGTH) * np.concatenate(lives).std(0)
        self.deviation = torch.from_numpy(deviation).clamp(min=_LEAST_DEVIATION)

    @torch.no_grad()
    def __call__(self, rng: np.random.Generator) -> Scene:
        teacher, frames = self.teacher, self.frames
        shown = self.store.window(int(rng.integers(len(self.store))), rng, 1, augment=True)
        code = shown["code"][None]
        state = code[0, -4:, 0, 0]  # see face_code.assemble
        phones = random_phones(rng, self.utterances, frames)
        condition = random_condition(
            rng, phones, (state[:2] + 1) * BLINK_UNIT, state[2:] * MOUTH_UNIT, frames
        )
        moved = np.float32(_STRENGTH) * expression_of(living_expression(rng, frames))
        told = [
            moved,
            np.zeros_like(moved),
            *np.eye(moved.shape[1], dtype=np.float32)[:, None].repeat(frames, 1),
        ]
        motion_fields, summary = teacher.motion_fields(code)
        clips = [
            teacher.embed(motion_fields, summary, condition[None], expression=_known(each)[None])
            for each in told
        ]
        directions = unit_fields(motion_fields)[0].flatten(1)
        noise = self.noise * torch.from_numpy(rng.normal(size=(1, frames, len(directions)))).float()
        noise_factor = torch.linalg.cholesky(
            (directions @ directions.T).double() + 1e-5 * torch.eye(len(directions))
        ).float()
        timestep = torch.tensor([_TEACHER_TIMESTEP])
        target, neutral, *single = (
            teacher.denoise_coefficients(noise @ noise_factor.T, timestep, clip) for clip in clips
        )
        projections = [
            teacher.project(teacher.compose(each, motion_fields), motion_fields) for each in (target, neutral)
        ]
        face = 1 + _FACE_WEIGHT * torch.maximum(shown["mouth"], shown["eyes"])[0]
        weighted = (motion_fields[0] * face.sqrt() / face.mean().sqrt()).flatten(1)
        metric = weighted @ weighted.T / weighted.shape[1]
        effects = torch.cat([each - neutral for each in single]).mean(1)  # [6, K]
        expression_error = torch.linalg.solve(effects @ metric @ effects.T, effects @ metric)
        batch = summary, target, neutral, *projections
        return Scene(
            condition,
            *(part[0] for part in batch),
            noise_factor,
            metric,
            expression_error / self.deviation[:, None],
        )


def _known(expression: np.ndarray) -> Tensor:
    """[F, 6] → [F, 7] with the 1 that says that it is known."""
    return torch.from_numpy(np.pad(expression, ((0, 0), (0, 1)), constant_values=1.0))


def stacked(scenes: list[Scene]) -> Scene:
    return Scene(**{f.name: torch.stack([getattr(scene, f.name) for scene in scenes]) for f in fields(Scene)})


def expression_loss(
    denoiser: CompactDenoiser, scenes: Scene, alphas: Tensor, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of the latents that the coefficients make and of the expression in them; and, for late timesteps,
    how much of the latents' and of the expression's motion is not recovered."""
    clips = len(scenes.target)
    timestep = torch.from_numpy(rng.integers(1, len(alphas), clips))
    signal = alphas[timestep].float()[:, None, None]
    neutral = torch.from_numpy(rng.random(clips) < _NEUTRAL)[:, None, None]
    target = torch.where(neutral, scenes.neutral, scenes.target)
    projection = torch.where(neutral, scenes.neutral_projection, scenes.target_projection)
    noise = torch.randn_like(projection) @ scenes.noise_factor.mT
    x = signal.sqrt() * projection + (1 - signal).sqrt() * torch.where(neutral, 0.0, noise)
    clip = denoiser.embed(x.new_empty(0), scenes.summary, scenes.condition)  # no fields: nothing is composed
    predicted = denoiser.denoise_coefficients(x, timestep, clip)

    def cost(error: Tensor) -> Tensor:
        return ((error @ scenes.metric) * error).sum(-1).mean(1)

    errors, left = cost(predicted - target), cost(scenes.neutral - target)
    shown = (predicted - target) @ scenes.expression_error.mT  # [B, F, 6]
    ratio = (signal / (1 - signal)).clamp(_EARLIEST, _LATEST)
    late = (timestep < 300) & ~neutral[:, 0, 0]
    figures = {}
    if late.any():
        figures = {"late": errors[late].sum() / left[late].sum().clamp(min=1e-9)}
        for number, error in enumerate(shown[late].square().mean((0, 1))):
            figures[f"expression{number}"] = error
    return errors.mean() + _EXPRESSION_COST * (ratio * shown.square()).mean(), figures


def train(options: argparse.Namespace) -> Progress:
    student = begin_from(options.start, new_networks(options.seed))["denoiser"]
    if options.start is None:
        saved = torch.load(options.motion, map_location="cpu", weights_only=True)["average"]
        student.load_state_dict({key.removeprefix("denoiser."): value for key, value in saved.items()})
    teacher = copy.deepcopy(student).requires_grad_(False)
    student.motion_fields.requires_grad_(False)
    student.coefficient_proj.requires_grad_(False)
    student.to(options.device)
    progress = Progress(nn.ModuleDict({"denoiser": student}), options.out, options.rate, options.steps)
    rng = np.random.default_rng([options.seed, progress.step])
    torch.manual_seed(options.seed + progress.step)
    noise = 1.0 if options.start is None else 0.0
    maker = SceneMaker(teacher, ClipStore(options.clips, limit=options.limit), options.frames, noise)
    scenes = stacked([maker(rng) for _ in range(options.scenes)])
    scenes = Scene(**{f.name: getattr(scenes, f.name).to(options.device) for f in fields(Scene)})
    print(f"{options.scenes} scenes of {options.frames} frames", flush=True)
    alphas = cosine_schedule(student.config.train_timesteps).alphas_cumprod

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.from_numpy(rng.integers(options.scenes, size=options.batch))
        batch = Scene(**{f.name: getattr(scenes, f.name)[chosen] for f in fields(Scene)})
        return expression_loss(student, batch, alphas, rng)

    progress.run(step, 1000)
    return progress


def main() -> None:
    parser = options_of(__doc__, CHECKPOINT, 4500, 16, 1e-3, CLIPS)
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--motion", type=Path, default=MOTION, help="checkpoint of stage 5")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
