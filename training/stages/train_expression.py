"""Stage 6: the denoiser learns to draw from noise what no condition says: brows, gaze, squint, a passing smile.

After stage 5 it moves all of that where it is told to. Here the same network, told, is the teacher of one that is not:
it sees the noisy latents alone and learns what faces do, as any diffusion model does. The motion fields stay as they
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

from dawn_model.denoiser.compact import CompactClip, CompactDenoiser, unit_fields
from dawn_model.denoiser.conditioning import mouth_condition
from dawn_model.denoiser.face_code import BLINK_UNIT, MOUTH_UNIT
from dawn_model.diffusion.schedule import cosine_schedule
from dawn_model.layers.attention import temporal_band

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
_STRENGTH = (1.6, 1.6, 0.3, 1.0, 2.0, 2.0)
"""How far each of `EXPRESSIONS` goes, beside the scenario. Set by finished frames: brows deviate by .025 to .04 iris
distances in real ones; gaze moves less far than it is told; a smile twice as strong is a grimace."""
_CALM = 0.15
"""Share of the samples without noise, in which nothing that is not told moves: what `expression` of 0 asks for."""
_STILL, _HELD = 0.05, 0.35
"""Share of the scenes in which nothing at all is told, and in which the head is held."""
_SURE = 952
"""Timestep at which the teacher is asked: nothing but noise reaches it, and what it is told."""


@dataclass(frozen=True)
class Scene:
    """One portrait and what it does in F frames, in its K motion fields; several of them with a leading axis B.

    condition [F, 27]; summary [width]: of the portrait
    target, calm [F, K]: coefficients of all that happens, and without what no condition says
    seen, seen_calm [F, K]: how much of each field the latents of those hold
    spread [K, K]: what noise of unit deviation is multiplied with to be as noise in the latents is
    metric [K, K]: coefficients' errors e cost eᵀ·metric·e, the squared error of the latents' cells
    """

    condition: Tensor
    summary: Tensor
    target: Tensor
    calm: Tensor
    seen: Tensor
    seen_calm: Tensor
    spread: Tensor
    metric: Tensor


def random_condition(
    rng: np.random.Generator, phones: list, eyes: Tensor, mouth: Tensor, frames: int
) -> Tensor:
    """Condition rows [F, 27] of somebody's speech on a portrait whose eyes [2] and mouth [2] are open so far."""
    articulation = torch.from_numpy(articulation_of(phones, frames))
    told = mouth_condition(articulation, mouth, rng.uniform(0.4, 1.1))
    swing = np.array([rng.uniform(0, 8), rng.uniform(0, 6), rng.uniform(0, 5)]) * (rng.random() >= _HELD)
    pose = np.zeros((frames, 6), np.float32)
    pose[:, :3] = np.stack([s * smooth_noise(rng, frames, rng.uniform(0.8, 2)) for s in swing], axis=1)
    lids = eye_ratio(eyes.numpy(), blink_curve(rng, frames, often=False)) - eyes.numpy()
    row = torch.cat([told, torch.from_numpy(pose), torch.from_numpy(lids).float()], dim=1)
    return row * float(rng.random() >= _STILL)


class SceneMaker:
    """Makes scenes with a denoiser that is told everything."""

    def __init__(self, teacher: CompactDenoiser, store: ClipStore, frames: int):
        self.teacher, self.store, self.frames = teacher, store, frames
        self.utterances = list(read_phones(REAL_SPEECH / "phones.tsv").values())

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
        told = torch.from_numpy(np.pad(moved, ((0, 0), (0, 1)), constant_values=1.0))
        silent = told * told.new_tensor([0.0] * (told.shape[1] - 1) + [1.0])
        clips = [teacher.prepare(code, condition[None], expression=each[None]) for each in (told, silent)]
        motion_fields = clips[0].fields
        directions = unit_fields(motion_fields)[0].flatten(1)
        noise = torch.from_numpy(rng.normal(size=(1, frames, len(directions)))).float()
        spread = torch.linalg.cholesky(
            (directions @ directions.T).double() + 1e-5 * torch.eye(len(directions))
        ).float()
        target, calm = (
            teacher.denoise_coefficients(noise @ spread.T, torch.tensor([_SURE]), clip) for clip in clips
        )
        seen = [
            teacher.project(teacher.compose(each, motion_fields), motion_fields) for each in (target, calm)
        ]
        face = 1 + _FACE_WEIGHT * torch.maximum(shown["mouth"], shown["eyes"])[0]
        weighted = (motion_fields[0] * face.sqrt() / face.mean().sqrt()).flatten(1)
        metric = weighted @ weighted.T / weighted.shape[1]
        _, summary = teacher.motion_fields(code)
        return Scene(condition, summary[0], target[0], calm[0], seen[0][0], seen[1][0], spread, metric)


def stacked(scenes: list[Scene]) -> Scene:
    return Scene(**{f.name: torch.stack([getattr(scene, f.name) for scene in scenes]) for f in fields(Scene)})


def prepared(denoiser: CompactDenoiser, scenes: Scene) -> CompactClip:
    """As `CompactDenoiser.prepare` of portraits whose summary is known; there are no fields to compose."""
    config, frames = denoiser.config, scenes.condition.shape[1]
    unknown = scenes.condition.new_zeros(*scenes.condition.shape[:2], config.expression_dim)
    context, coefficients = denoiser.embed(scenes.condition, unknown, scenes.summary)
    band = temporal_band(
        denoiser.temporal_bias, frames, config.window, config.head_dim, context.device, context.dtype
    )
    return CompactClip(context.new_empty(0), context, coefficients, band)


def expression_loss(
    denoiser: CompactDenoiser, scenes: Scene, alphas: Tensor, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of the latents that the coefficients make, and how much of what is not told is recovered."""
    clips = len(scenes.target)
    timestep = torch.from_numpy(rng.integers(1, len(alphas), clips))
    signal = alphas[timestep].float()[:, None, None]
    calm = torch.from_numpy(rng.random(clips) < _CALM)[:, None, None]
    target, seen = (
        torch.where(calm, quiet, moving)
        for quiet, moving in ((scenes.calm, scenes.target), (scenes.seen_calm, scenes.seen))
    )
    noise = torch.randn_like(seen) @ scenes.spread.mT
    x = signal.sqrt() * seen + (1 - signal).sqrt() * torch.where(calm, 0.0, noise)
    made = denoiser.denoise_coefficients(x, timestep, prepared(denoiser, scenes))

    def cost(error: Tensor) -> Tensor:
        return ((error @ scenes.metric) * error).sum(-1).mean(1)

    errors, left = cost(made - target), cost(scenes.calm - target)
    late = (timestep < 300) & ~calm[:, 0, 0]
    figures = {"late": errors[late].sum() / left[late].sum().clamp(min=1e-9)} if late.any() else {}
    return errors.mean(), figures


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
    maker = SceneMaker(teacher, ClipStore(options.clips, limit=options.limit), options.frames)
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
