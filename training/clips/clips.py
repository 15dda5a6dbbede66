"""One training clip: pictures, exact flow and visibility from two sources, conditions. All from one seed.

Poses and eye-aspect ratios are in the convention of `dawn_model.face`: the landmarker measures the source, and
the known turn of the head since then is applied to it. The mouth is measured on the mesh.
"""

from __future__ import annotations

import numpy as np
import torch

from dawn_model.face.crop import MARGIN, SHIFT, crop_face
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.state import angles_from_rotation, face_state, rotation_from_angles

from ..paths import REAL_SPEECH
from ..people.head import HeadMesh, Person, random_person
from ..people.renderer import Surface, View, flow_between, posed, rotation, shade, shrink, surface_of
from ..speech.labels import read_phones
from .scenario import Scenario, expression_of, eye_ratio, random_scenario, source_expression

SIZE, CELLS, DRAWN = 256, 64, 512
"""Side of the picture, of the motion grid and of the drawing the picture is averaged from."""
TRACED = 256
"""Side of the drawing from which motion is read."""
SOURCES, PAINTED = 2, 6
"""Sources of a clip, and how many of its frames are painted for the picture training."""
_BACKDROP = 0.6


class ClipMaker:
    """Holds what all clips share. `make(seed)` gives the same clip on every call."""

    def __init__(self, frames: int = 40):
        torch.set_num_threads(1)
        self.frames = frames
        self.mesh = HeadMesh()
        self.utterances = list(read_phones(REAL_SPEECH / "phones.tsv").values())
        self.landmarker = FaceLandmarker.load()

    def make(self, seed: int) -> dict[str, np.ndarray] | None:
        """None when no face is found in a source. Otherwise

        rgb [2 + P, 256, 256, 3] and cover [2 + P, 256, 256]: uint8; the two sources, then the painted frames
        painted [P]: their numbers
        flow [2, F, 2, 64, 64] float16: displacement in sides of the picture, per source
        visible [2, F, 64, 64] uint8
        pose [2, 3], blink [2, 2], points [2, 478, 3]: of the sources, as `FaceState` in the picture
        pose_change [2, F, 3], blink_change [2, F, 2]: of the frames, relative to the source
        mouth [F, 2] and source_mouth [2, 2]: gap and width in iris distances; shares [F, 17] of classes of phones
        expression [F, 6] and source_expression [2, 6]: see scenario.EXPRESSIONS
        regions [F, 3, 4]: mouth, left and right eye: centre x, y and radii, in sides of the picture
        """
        rng = np.random.default_rng([seed, 1])
        person = random_person(self.mesh, rng)
        scenario = random_scenario(rng, self.utterances, self.frames)
        shown_by_source = source_expression(rng, scenario, self.utterances)
        first = posed(self.mesh, person, shown_by_source)
        first_turn = self._turn_of_source(rng, scenario)
        second = int(rng.integers(self.frames))
        view = self._view(rng, person, first, first_turn)
        if view is None:
            return None
        turns = [rotation(*pose) for pose in scenario.pose]
        moved = [
            posed(self.mesh, person, {k: v[i] for k, v in scenario.units.items()}) for i in range(self.frames)
        ]
        sources = [(first, first_turn), (moved[second], turns[second])]
        painted = np.sort(rng.choice(self.frames, PAINTED, replace=False))
        drawn = [*sources, *((moved[i], turns[i]) for i in painted)]
        surfaces = [surface_of(person, *each, view, DRAWN) for each in drawn]
        pictures = [shade(person, surface) for surface in surfaces]
        states = [self._look(*each) for each in zip(pictures[:SOURCES], surfaces[:SOURCES], strict=True)]
        if None in states:
            return None
        clip = _pictures(pictures, surfaces)
        open_ratio = states[0].blink.numpy()
        ratios = eye_ratio(open_ratio, scenario.blink)
        clip["painted"] = painted
        clip["pose"] = np.stack([state.pose[:3].numpy() for state in states])
        clip["blink"] = np.stack([state.blink.numpy() for state in states])
        clip["points"] = np.stack([_in_picture(state.points.numpy()) for state in states])
        clip["pose_change"] = np.stack(
            [
                _pose_change(state.pose[:3], turn, turns)
                for state, (_, turn) in zip(states, sources, strict=True)
            ]
        )
        shown = [open_ratio, ratios[second]]
        clip["blink_change"] = np.stack([ratios - ratio for ratio in shown]).astype(np.float32)
        traced = [surface_of(person, *each, view, TRACED) for each in zip(moved, turns, strict=True)]
        origins = [surface_of(person, *each, view, TRACED) for each in sources]
        regions = [self._regions(surface) for surface in traced]
        delicate = [_near(each) for each in regions]
        motion = [
            [
                flow_between(person, origin, *each)
                for each in zip(traced, [CELLS] * len(traced), delicate, strict=True)
            ]
            for origin in origins
        ]
        clip["flow"] = np.array([[flow for flow, _ in row] for row in motion], np.float16)
        clip["visible"] = np.array([[v * 255 for _, v in row] for row in motion]).astype(np.uint8)
        clip["regions"] = np.stack(regions)
        clip["mouth"] = np.stack([self.mesh.mouth(each) for each in moved])
        clip["source_mouth"] = np.stack([self.mesh.mouth(each) for each, _ in sources])
        clip["shares"] = scenario.shares
        clip["expression"] = expression_of(scenario.units)
        clip["source_expression"] = np.stack([expression_of(shown_by_source), clip["expression"][second]])
        clip["kind"] = np.array(scenario.kind)
        return clip

    def _turn_of_source(self, rng: np.random.Generator, scenario: Scenario) -> np.ndarray:
        """Near the clip's middle pose, or exactly as its first frame where the head is still."""
        still = np.ptp(scenario.pose, axis=0).max() == 0
        return rotation(*(scenario.pose[0] if still else scenario.pose.mean(0) + rng.normal(0, (4, 3, 2))))

    def _view(self, rng: np.random.Generator, person: Person, vertices, turn) -> View | None:
        """The plugin's own framing round the source, a little off."""
        surface = surface_of(person, vertices, turn, View(), TRACED)
        faces = self.landmarker(_lit(shade(person, surface), surface))
        if not faces:
            return None
        margin = MARGIN + rng.uniform(-0.12, 0.15)
        shift = tuple(np.add(SHIFT, rng.uniform(-0.03, 0.03, 2)))
        region = crop_face(faces[0].points, TRACED, TRACED, TRACED, margin, shift).region
        zoom = TRACED / region.side
        middle = (TRACED - 1) / 2
        return View(
            zoom,
            ((0.5 * TRACED - region.x) * zoom + middle) / TRACED - 0.5,
            ((0.47 * TRACED - region.y) * zoom + middle) / TRACED - 0.47,
        )

    def _look(self, picture: np.ndarray, surface: Surface):
        faces = self.landmarker(_lit(picture, surface))
        return face_state(faces[0].points, DRAWN, DRAWN) if faces else None

    def _regions(self, surface: Surface) -> np.ndarray:
        """Mouth and eyes as ellipses, [3, 4]."""
        regions = []
        for vertices in (self.mesh.lip_vertices, *self.mesh.eye_vertices):
            points = surface.points[vertices, :2] / TRACED
            low, high = points.min(0), points.max(0)
            regions.append([*(low + high) / 2, *(high - low) / 2])
        return np.array(regions, np.float32)


def _near(regions: np.ndarray) -> np.ndarray:
    """Pixels of the traced drawing in mouth and eyes, [TRACED, TRACED] bool."""
    y, x = (np.indices((TRACED, TRACED)) + 0.5) / TRACED
    inside = np.zeros((TRACED, TRACED), bool)
    for centre_x, centre_y, across, down in regions:
        inside |= ((x - centre_x) / (1.3 * across)) ** 2 + ((y - centre_y) / (1.6 * down)) ** 2 < 1
    return inside


def _pictures(pictures: list[np.ndarray], surfaces: list[Surface]) -> dict[str, np.ndarray]:
    factor = DRAWN // SIZE
    rgb = [shrink(picture, factor) for picture in pictures]
    cover = [shrink(surface.cover.astype(np.float32), factor) for surface in surfaces]
    return {
        "rgb": (np.stack(rgb) * 255 + 0.5).astype(np.uint8),
        "cover": (np.stack(cover) * 255 + 0.5).astype(np.uint8),
    }


def _in_picture(points: np.ndarray) -> np.ndarray:
    """Mesh points [478, 3] in pixels of the drawing → in pixels of the picture, float32."""
    factor = DRAWN // SIZE
    flat = (points[:, :2] + 0.5) / factor - 0.5
    return np.concatenate([flat, points[:, 2:] / factor], axis=1).astype(np.float32)


def _lit(picture: np.ndarray, surface: Surface) -> torch.Tensor:
    return torch.from_numpy(picture + _BACKDROP * ~surface.cover[..., None]).float()


def _pose_change(source_angles: torch.Tensor, source_turn: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    """Yaw, pitch, roll of every frame minus those of the source, [F, 3] in degrees."""
    measured = rotation_from_angles(source_angles.double())
    since = torch.from_numpy(np.stack(turns) @ source_turn.T)
    return (angles_from_rotation(since @ measured) - source_angles).float().numpy()
