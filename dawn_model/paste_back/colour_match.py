"""Gives a clip the colours of the picture it came from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_GAIN = (0.8, 1.25)
"""Bounds of the change in contrast: a clip of another exposure is helped, one of another scene is left alone."""


@dataclass(frozen=True)
class ColourMatch:
    """colour → gain · colour + offset, per channel [3]; the same for all frames, so that nothing flickers."""

    gain: Tensor
    offset: Tensor

    def __call__(self, frame: Tensor) -> Tensor:
        """[..., 3], same out."""
        return frame * self.gain + self.offset

    @classmethod
    def between(cls, frames: Tensor, reference: Tensor, weight: Tensor, strength: float) -> ColourMatch:
        """From the mean and spread of a whole clip to those of a picture.

        Args:
            frames: [F, S, S, 3 or more], read one at a time.
            reference: [S, S, 3], what the first frame should look like.
            weight: [h, w, 1], which pixels count, of any size.
            strength: 0 changes nothing, 1 everything.
        """
        if strength == 0:
            return cls(torch.ones(3), torch.zeros(3))
        share = F.interpolate(weight.movedim(-1, 0)[None], reference.shape[:2], mode="bilinear")[
            0, 0, ..., None
        ]
        share = share / share.sum()

        def moments(picture: Tensor) -> Tensor:
            picture = picture[..., :3].float().cpu()
            return torch.stack([(share * picture).sum((0, 1)), (share * picture.square()).sum((0, 1))])

        of_frames = torch.stack([moments(frame) for frame in frames]).mean(0)
        (mean, spread), (wanted, wanted_spread) = (
            _mean_and_spread(m) for m in (of_frames, moments(reference))
        )
        gain = torch.where(spread > 1e-3, wanted_spread / spread.clamp(min=1e-3), 1.0).clamp(*_GAIN)
        gain = 1 + strength * (gain - 1)
        return cls(gain, strength * (wanted - mean) + mean * (1 - gain))


def _mean_and_spread(moments: Tensor) -> tuple[Tensor, Tensor]:
    mean, square = moments
    return mean, (square - mean.square()).clamp(min=0).sqrt()
