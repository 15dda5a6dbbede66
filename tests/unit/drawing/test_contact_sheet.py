"""Clips side by side: where each is, and its text."""

from __future__ import annotations

import torch

from dawn_model.drawing.contact_sheet import put_clip


def test_clips_are_scaled_into_their_cells():
    sheet = torch.zeros(2, 128, 128, 3)
    for number, gray in enumerate((0.2, 0.4, 0.6, 0.8)):
        put_clip(sheet, number, 2, torch.full((2, 100, 100, 3), gray), f"seed {number}")
    for number, gray in enumerate((0.2, 0.4, 0.6, 0.8)):
        row, column = divmod(number, 2)
        cell = sheet[:, 64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
        assert torch.allclose(cell[:, 32:], torch.tensor(gray), atol=1e-5)
        assert cell[0, :24].max() > gray + 0.1 and cell[0, :24].min() < gray, "light letters on a dark ground"
