"""Mixing the pixels of a line."""

from __future__ import annotations

import pytest
import torch

from dawn_model.paste_back.lines import Lines


@pytest.mark.parametrize("cubic", [False, True])
def test_lines_look_up_what_grid_sample_does(cubic):
    """Also far beyond the ends, where they repeat."""
    positions = torch.linspace(-3, 3, 61)
    row = torch.rand(1, 1, 1, 9)
    grid = torch.stack([positions, torch.zeros(61)], dim=-1)[None, None]
    expected = torch.nn.functional.grid_sample(
        row, grid, mode="bicubic" if cubic else "bilinear", padding_mode="border", align_corners=False
    )
    lines = Lines.at(positions, 9, cubic)
    assert torch.allclose(lines.mix(row.view(9, 1))[:, 0], expected.flatten(), atol=1e-5)
    again = Lines.of(lines.weights(9))
    assert torch.allclose(again.mix(row.view(9, 1)), lines.mix(row.view(9, 1)), atol=1e-6)
