"""A part of the picture in pieces."""

from __future__ import annotations

import torch

from dawn_model.paste_back.bands import Band, bands


def test_bands_cover_a_part_once():
    for height, width in ((409, 409), (1, 5000), (1080, 1920), (7, 3)):
        rows = [
            line
            for band in bands(height, width, torch.device("cpu"))
            for line in band.lines(height).flatten().tolist()
        ]
        assert sorted(set(rows)) == list(range(height)) and rows == sorted(rows)
    assert bands(409, 300, torch.device("cuda")) == [Band(0, 1, 409)]
