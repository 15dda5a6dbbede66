"""Gives a clip the colours of the picture it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_GAIN = (0.8, 1.25)
"""Bounds of the change in contrast: a clip of another exposure is helped, one of another scene is left alone."""


@dataclass(frozen=True)
class ColourSums:
    """Of `frames` frames: the sums of their weighted mean colours and mean squares, [2, 3] in float64.

    Each frame adds numbers of 24 bits, whose sum 53 bits hold without rounding. So a clip measured in parts, in any
    order, has exactly the sums of the whole.
    """

    frames: int
    sums: Tensor

    def __add__(self, other: ColourSums) -> ColourSums:
        return ColourSums(self.frames + other.frames, self.sums + other.sums)

    @classmethod
    def of(cls, frames: Tensor, weight: Tensor) -> ColourSums:
        """Frames [F, H, W, 3 or more], read one at a time; weight [h, w, 1] of any size: which pixels count."""
        share = F.interpolate(weight.movedim(-1, 0)[None], frames.shape[1:3], mode="bilinear")[
            0, 0, ..., None
        ]
        share = share / share.sum()
        sums = torch.zeros(2, 3, dtype=torch.float64)
        for frame in frames:
            colours = frame[..., :3].float().cpu()
            moments = [(share * colours).sum((0, 1)), (share * colours.square()).sum((0, 1))]
            sums += torch.stack(moments).double()
        return cls(len(frames), sums)

    def mean_and_spread(self) -> tuple[Tensor, Tensor]:
        mean, square = (self.sums / self.frames).float()
        return mean, (square - mean.square()).clamp(min=0).sqrt()

    def to_text(self) -> str:
        """Loses nothing."""
        return json.dumps({"frames": self.frames, "sums": self.sums.tolist()})

    @classmethod
    def from_text(cls, text: str) -> ColourSums:
        """Raises ValueError for what `to_text` did not write."""
        try:
            record = json.loads(text)
            frames, sums = record["frames"], torch.tensor(record["sums"], dtype=torch.float64)
            if not (
                isinstance(frames, int) and frames > 0 and sums.shape == (2, 3) and sums.isfinite().all()
            ):
                raise ValueError("wrong numbers")
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{text[:60]!r} holds no measured colors ({error})") from None
        return cls(frames, sums)


@dataclass(frozen=True)
class ColourMatch:
    """colour → gain · colour + offset, per channel [3]; the same for all frames, so that nothing flickers."""

    gain: Tensor
    offset: Tensor

    def __call__(self, frame: Tensor) -> Tensor:
        """[..., 3], same out."""
        return frame * self.gain + self.offset

    def to(self, device: torch.device) -> ColourMatch:
        return ColourMatch(self.gain.to(device), self.offset.to(device))

    @classmethod
    def none(cls) -> ColourMatch:
        return cls(torch.ones(3), torch.zeros(3))

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
            return cls.none()
        return cls.of_sums(ColourSums.of(frames, weight), reference, weight, strength)

    @classmethod
    def of_sums(cls, clip: ColourSums, reference: Tensor, weight: Tensor, strength: float) -> ColourMatch:
        """As `between`, for a clip that was measured before."""
        mean, spread = clip.mean_and_spread()
        wanted, wanted_spread = ColourSums.of(reference[None], weight).mean_and_spread()
        gain = torch.where(spread > 1e-3, wanted_spread / spread.clamp(min=1e-3), 1.0).clamp(*_GAIN)
        gain = 1 + strength * (gain - 1)
        return cls(gain, strength * (wanted - mean) + mean * (1 - gain))
