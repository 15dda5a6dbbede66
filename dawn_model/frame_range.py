"""Part of a clip: some of its frames, and the sound that belongs to exactly those."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .audio.waveform import samples_until
from .structures import MotionLatents

LAST = -1
"""As `last`: whatever frame is the last one."""


@dataclass(frozen=True)
class FrameRange:
    """Frames `first` to `last` of `total`, both included, counted from 0; `last` may be LAST.

    Raises ValueError for frames that the clip has not.
    """

    total: int
    first: int = 0
    last: int = LAST

    def __post_init__(self):
        if self.last == LAST:
            object.__setattr__(self, "last", self.total - 1)
        have = f"the motion has {self.total} frames, 0 to {self.total - 1}"
        if not 0 <= self.first < self.total:
            raise ValueError(f"first_frame: {self.first} was asked for, but {have}")
        if not 0 <= self.last < self.total:
            raise ValueError(f"last_frame: {self.last} was asked for, but {have}; {LAST} is the last one")
        if self.last < self.first:
            raise ValueError(
                f"last_frame: {self.last} lies before first_frame, {self.first}; no frame is left"
            )

    def __len__(self) -> int:
        return self.last - self.first + 1

    def latents(self, latents: MotionLatents) -> MotionLatents:
        """Views, no copies."""
        return latents.part(slice(self.first, self.last + 1))

    def waveform(self, waveform: Tensor, rate: int) -> Tensor:
        """The sound [..., T] of the whole clip → that of these frames. Neighbouring ranges share no sample."""
        return waveform[..., samples_until(self.first, rate) : samples_until(self.last + 1, rate)]
