"""A portrait of noise and a motion for it, for what pastes back: no landmarker and no picture file is needed."""

from __future__ import annotations

import dataclasses

import torch

from dawn_model.face.crop import crop_face
from dawn_model.face.portrait import Portrait
from dawn_model.flow_autoencoder.warping import coordinate_grid
from dawn_model.structures import MotionLatents


def noise_portrait(height: int, width: int, face: float, angle: float = 0.0, **region: float) -> Portrait:
    """Its face is a ring of 2 × `face` pixels round an open mouth, in the middle of the picture; its square leans by
    `angle` (radians)."""
    turn = torch.arange(478) * 0.7
    across, down = width / 2 + face * turn.cos(), height / 2 + face * turn.sin()
    points = torch.stack([across, down, face / 3 * turn.cos()], dim=1)
    crop = crop_face(points, height, width, 64)
    crop = dataclasses.replace(crop, region=dataclasses.replace(crop.region, angle=angle, **region))
    return Portrait(torch.rand(height, width, 3), points, crop)


def noise_motion(frames: int, side: int = 16, lips: bool = False) -> MotionLatents:
    """About the identity; lips: some lips are held together."""
    flow = coordinate_grid(side, side, torch.zeros(())) + 0.1 * torch.randn(frames, side, side, 2)
    return MotionLatents(flow, torch.rand(frames, 1, side, side), torch.rand(frames) if lips else None)
