"""Some frames of a clip and the sound that belongs to them."""

from __future__ import annotations

import pytest
import torch

from dawn_model.audio.waveform import align_waveform, samples_until
from dawn_model.frame_range import FrameRange
from dawn_model.structures import MotionLatents


def test_ranges_put_together_are_the_clip():
    latents = MotionLatents(torch.rand(10, 4, 4, 2), torch.rand(10, 1, 4, 4))
    for rate in (16000, 44100, 11025, 8000):
        sound = align_waveform(torch.rand(2, 20000), rate, 10)
        parts = [FrameRange(10, 0, 2), FrameRange(10, 3, 3), FrameRange(10, 4)]
        assert [len(part) for part in parts] == [3, 1, 6]
        assert torch.equal(torch.cat([part.latents(latents).flow for part in parts]), latents.flow)
        assert torch.equal(torch.cat([part.latents(latents).occlusion for part in parts]), latents.occlusion)
        assert torch.equal(torch.cat([part.waveform(sound, rate) for part in parts], dim=-1), sound)
        assert sound.shape[-1] == samples_until(10, rate)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (10, -1, r"first_frame: 10 was asked for, but the motion has 10 frames, 0 to 9"),
        (-2, -1, r"first_frame: -2 was asked for"),
        (0, 10, r"last_frame: 10 was asked for, but the motion has 10 frames, 0 to 9; -1 is the last"),
        (0, -2, r"last_frame: -2 was asked for"),
        (5, 4, r"last_frame: 4 lies before first_frame, 5"),
    ],
)
def test_frames_that_are_not_there(first, last, message):
    with pytest.raises(ValueError, match=message):
        FrameRange(10, first, last)
