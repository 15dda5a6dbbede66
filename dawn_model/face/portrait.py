"""A portrait whose face has been found: the picture, the mesh and the square to animate."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..structures import FaceState
from .crop import Crop
from .state import face_state


@dataclass(frozen=True)
class Portrait:
    """Independent of any model: `at` cuts it for the resolution that a model needs.

    picture [H, W, 3] in 0..1; points [478, 3]: face mesh in pixels of the picture;
    crop: the square, of any size
    """

    picture: Tensor
    points: Tensor
    crop: Crop

    def at(self, size: int) -> tuple[Tensor, FaceState]:
        """The square as RGB [1, 3, size, size] and the state of the face in it."""
        crop = Crop(self.crop.region, size, self.crop.height, self.crop.width)
        picture = crop.cut(self.picture).clamp(0, 1).movedim(-1, 0)[None]
        return picture, face_state(crop.to_crop(self.points), size, size)
