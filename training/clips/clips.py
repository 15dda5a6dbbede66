"""One training clip: pictures, exact flow and visibility from two sources, conditions. All from one seed.

Poses and eye-aspect ratios are in the convention of `dawn_model.face`: the landmarker measures the source, and
the known turn of the head since then is applied to it.
"""

from __future__ import annotations

import numpy as np
import torch

from dawn_model.face.crop import MARGIN, SHIFT, crop_face
from dawn_model.face.landmarker import FaceLandmarker
from dawn_model.face.state import angles_from_rotation, face_state, rotation_from_angles

from ..people.head import HeadMesh, Person, random_person
from ..people.renderer import Drawing, View, draw, flow_between, rotation, shrink
from .scenario import Scenario, Utterances, eye_ratio, random_scenario

SIZE, CELLS, DRAWN = 128, 64, 256
"""Side of the picture, of the motion grid and of the drawing the picture is averaged from."""
SOURCES = 2
_BACKDROP = 0.6


class ClipMaker:
    """Holds what all clips share. `make(seed)` gives the same clip on every call."""

    def __init__(self, frames: int = 40):
        torch.set_num_threads(1)
        self.frames = frames
        self.mesh, self.utterances = HeadMesh(), Utterances.load()
        self.landmarker = FaceLandmarker.load()

    def make(self, seed: int) -> dict[str, np.ndarray] | None:
        """None when no face is found in a source. Otherwise

        rgb [2 + F, 128, 128, 3] and cover [2 + F, 128, 128]: uint8; the two sources, then the frames
        flow [2, F, 2, 64, 64] float16: displacement in sides of the picture, per source
        visible [2, F, 64, 64] uint8
        pose [2, 3], blink [2, 2], points [2, 478, 3]: of the sources, as `FaceState` in the picture
        pose_change [2, F, 3], blink_change [2, F, 2]: of the frames, relative to the source
        regions [F, 3, 4]: mouth, left and right eye: centre x, y and radii, in sides of the picture
        mel [4·(F + 16), 40] float16; jaw [F]; spoken [F, units]: weights of the face units of speech alone
        """
        rng = np.random.default_rng([seed, 1])
        person = random_person(self.mesh, rng)
        scenario = random_scenario(rng, self.utterances, self.frames)
        held = [self._rest_source(rng, scenario), int(rng.integers(self.frames))]
        view = self._view(rng, person, *held[0])
        if view is None:
            return None
        turns = [rotation(*pose) for pose in scenario.pose]
        drawings = [
            draw(self.mesh, person, {k: v[i] for k, v in scenario.units.items()}, turns[i], view, DRAWN)
            for i in range(self.frames)
        ]
        units, turn = held[0]
        sources = [
            (draw(self.mesh, person, units, turn, view, DRAWN), turn),
            (drawings[held[1]], turns[held[1]]),
        ]
        clip = self._pictures([source for source, _ in sources] + drawings)
        states = [self._look(source) for source, _ in sources]
        if None in states:
            return None
        open_ratio = states[0].blink.numpy()
        ratios = eye_ratio(open_ratio, scenario.blink)
        shown = [open_ratio, ratios[held[1]]]
        clip["pose"] = np.stack([state.pose[:3].numpy() for state in states])
        clip["blink"] = np.stack([state.blink.numpy() for state in states])
        clip["points"] = np.stack([_in_picture(state.points.numpy()) for state in states])
        clip["pose_change"] = np.stack(
            [
                _pose_change(state.pose[:3], turn, turns)
                for state, (_, turn) in zip(states, sources, strict=True)
            ]
        )
        clip["blink_change"] = np.stack([ratios - ratio for ratio in shown]).astype(np.float32)
        motion = [[flow_between(person, s, d, CELLS) for d in drawings] for s, _ in sources]
        clip["flow"] = np.array([[flow for flow, _ in row] for row in motion], np.float16)
        clip["visible"] = np.array([[v * 255 for _, v in row] for row in motion]).astype(np.uint8)
        clip["regions"] = np.stack([self._regions(drawing) for drawing in drawings])
        clip["mel"], clip["jaw"] = scenario.mel, scenario.jaw.astype(np.float32)
        clip["spoken"] = scenario.spoken
        clip["kind"] = np.array(scenario.kind)
        return clip

    def _rest_source(self, rng: np.random.Generator, scenario: Scenario):
        """Expression and turn of a portrait: mostly a closed mouth, sometimes speaking; held near the clip's
        middle pose, or exactly as its first frame where the head is still."""
        units = dict(scenario.rest)
        if rng.random() < 0.3:
            frame = int(rng.integers(self.frames))
            units = {k: float(v[frame]) for k, v in scenario.units.items() if "Blink" not in k}
        still = np.ptp(scenario.pose, axis=0).max() == 0
        pose = scenario.pose[0] if still else scenario.pose.mean(0) + rng.normal(0, (4, 3, 2))
        return units, rotation(*pose)

    def _view(self, rng: np.random.Generator, person: Person, units, turn) -> View | None:
        """The plugin's own framing round the source, a little off."""
        drawing = draw(self.mesh, person, units, turn, View(), DRAWN)
        faces = self.landmarker(_lit(drawing))
        if not faces:
            return None
        margin = MARGIN + rng.uniform(-0.12, 0.15)
        shift = tuple(np.add(SHIFT, rng.uniform(-0.03, 0.03, 2)))
        region = crop_face(faces[0].points, DRAWN, DRAWN, DRAWN, margin, shift).region
        zoom = DRAWN / region.side
        middle = (DRAWN - 1) / 2
        return View(
            zoom,
            ((0.5 * DRAWN - region.x) * zoom + middle) / DRAWN - 0.5,
            ((0.47 * DRAWN - region.y) * zoom + middle) / DRAWN - 0.47,
        )

    def _look(self, drawing: Drawing):
        faces = self.landmarker(_lit(drawing))
        return face_state(faces[0].points, DRAWN, DRAWN) if faces else None

    def _pictures(self, drawings: list[Drawing]) -> dict[str, np.ndarray]:
        factor = DRAWN // SIZE
        rgb = [shrink(drawing.picture, factor) for drawing in drawings]
        cover = [shrink(drawing.cover.astype(np.float32), factor) for drawing in drawings]
        return {
            "rgb": (np.stack(rgb) * 255 + 0.5).astype(np.uint8),
            "cover": (np.stack(cover) * 255 + 0.5).astype(np.uint8),
        }

    def _regions(self, drawing: Drawing) -> np.ndarray:
        """Mouth and eyes as ellipses, [3, 4]."""
        regions = []
        for vertices in (self.mesh.lip_vertices, *self.mesh.eye_vertices):
            points = drawing.points[vertices, :2] / DRAWN
            low, high = points.min(0), points.max(0)
            regions.append([*(low + high) / 2, *(high - low) / 2])
        return np.array(regions, np.float32)


def _in_picture(points: np.ndarray) -> np.ndarray:
    """Mesh points [478, 3] in pixels of the drawing → in pixels of the picture, float32."""
    factor = DRAWN // SIZE
    flat = (points[:, :2] + 0.5) / factor - 0.5
    return np.concatenate([flat, points[:, 2:] / factor], axis=1).astype(np.float32)


def _lit(drawing: Drawing) -> torch.Tensor:
    return torch.from_numpy(drawing.picture + _BACKDROP * ~drawing.cover[..., None]).float()


def _pose_change(source_angles: torch.Tensor, source_turn: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    """Yaw, pitch, roll of every frame minus those of the source, [F, 3] in degrees."""
    measured = rotation_from_angles(source_angles.double())
    since = torch.from_numpy(np.stack(turns) @ source_turn.T)
    return (angles_from_rotation(since @ measured) - source_angles).float().numpy()
