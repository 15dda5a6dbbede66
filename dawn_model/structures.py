"""What flows between the stages. Plain frozen records of tensors; none knows how it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

FPS = 25
"""Frames a second of everything DAWN makes."""

NOT_FINITE = "model: the {} holds values that are not numbers. Choose fp32 as dtype in DAWN Load Model"
"""Half precision can overflow; without a word the clip would be black."""


@dataclass(frozen=True)
class FaceState:
    """Where a face is in a picture and how it is held.

    pose   [6]: yaw, pitch, roll in degrees; scale; x and y translation in units of a
                120-pixel crop round the face (3DDFA convention, y from the bottom)
    blink  [2]: left and right eye-aspect ratio (about 0.3 open, below 0.15 closed)
    box    [4]: x_min, y_min, x_max, y_max in pixels of the picture
    height, width: of that picture, in pixels
    points [478, 3]: the face mesh in pixels of the picture, z away from the viewer; only the embedded
                model looks at it, so it may be absent
    """

    pose: Tensor
    blink: Tensor
    box: Tensor
    height: int
    width: int
    points: Tensor | None = None


@dataclass(frozen=True)
class HeadMotion:
    """Absolute head pose [F, 6] and blink [F, 2] per frame, in the units of FaceState."""

    pose: Tensor
    blink: Tensor

    def __len__(self) -> int:
        return self.pose.shape[0]


@dataclass(frozen=True)
class AudioFeatures:
    """One row of speech features per video frame, [F, D]."""

    features: Tensor

    def __len__(self) -> int:
        return self.features.shape[0]


@dataclass(frozen=True)
class InnerLips:
    """Where the inner lips of an open mouth are in the square of its portrait. Lengths in halves of the picture.

    maps          [1, 3, S, S]: of every pixel, how far it lies below the edge of the upper lip, and below that of the
                  lower one; and whether between the corners of the mouth: 1 and more inside, 0 at a corner, -1 and less
                  where no teeth show any more
    down          [2]: from the upper lip to the lower one, x and y, of length 1
    iris_distance between the middles of both irises
    """

    maps: Tensor
    down: Tensor
    iris_distance: float

    def to(self, device: torch.device) -> InnerLips:
        return replace(self, maps=self.maps.to(device), down=self.down.to(device))


@dataclass(frozen=True)
class MotionLatents:
    """How to move the source picture, per frame.

    flow       [F, h, w, 2]: absolute sampling grid, x then y, in -1..1
    occlusion  [F, 1, h, w]: visibility of the source in 0..1
    shut       [F]: how far the lips are to meet, 0..1; the embedded model alone says it
    """

    flow: Tensor
    occlusion: Tensor
    shut: Tensor | None = None

    def __len__(self) -> int:
        return self.flow.shape[0]

    def part(self, frames: slice) -> MotionLatents:
        """Some of the frames, without copies."""
        return MotionLatents(
            self.flow[frames], self.occlusion[frames], None if self.shut is None else self.shut[frames]
        )

    def to(self, target: torch.device | torch.dtype) -> MotionLatents:
        """On another device or of another type."""
        shut = None if self.shut is None else self.shut.to(target)
        return MotionLatents(self.flow.to(target), self.occlusion.to(target), shut)
