"""Pictures of the square as they lie in the picture; test_as_plain.py compares what they show."""

from __future__ import annotations

import torch
from noise_portrait import noise_portrait

from dawn_model.paste_back.placement import Placement
from dawn_model.paste_back.spread import Spread


def test_an_upright_square_is_looked_up_by_lines_alone(monkeypatch):
    """A cubic look-up of every pixel would take ten times as long."""
    place = Placement(noise_portrait(150, 210, 30).crop, 150, 210)
    monkeypatch.setattr(torch.nn.functional, "grid_sample", None)
    assert Spread(place, 64, True, torch.device("cpu")).whole(torch.rand(64, 64, 3)).shape[0] == 3
