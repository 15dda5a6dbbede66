"""The head mesh, and random people made of it: shape, skin, hair, beard, eyes, light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..paths import HEAD

SKIN = np.array(
    [[0.96, 0.80, 0.70], [0.90, 0.70, 0.56], [0.80, 0.58, 0.44], [0.62, 0.42, 0.30], [0.42, 0.27, 0.19]]
)
HAIR = np.array(
    [
        [0.08, 0.06, 0.05],
        [0.25, 0.15, 0.08],
        [0.45, 0.30, 0.16],
        [0.75, 0.60, 0.35],
        [0.55, 0.22, 0.10],
        [0.6, 0.6, 0.6],
    ]
)
IRIS = np.array([[0.25, 0.45, 0.65], [0.30, 0.45, 0.25], [0.30, 0.17, 0.08], [0.45, 0.40, 0.35]])
_LOCAL_TARGETS = 22
_BARE_TEETH = 0.045, 0.06
"""How far the upper teeth end below the upper lip at rest, in decimetres. Nearly the same for all people: of a portrait
with closed lips nobody knows its teeth, and a decoder that is shown all kinds paints their mean, a gray haze."""


class HeadMesh:
    """The packed mesh of `pack_head.py`; lengths in decimetres, x to the picture's right, y up, z to the viewer."""

    def __init__(self, path=HEAD):
        packed = np.load(path)
        self.vertices = packed["vertices"]
        self.triangles = packed["triangles"]
        self.lips, self.lids, self.inside_mouth = packed["masks"].astype(np.float32)  # each [T, 3]
        names = packed["group_names"].tolist()
        self.group = np.array(names)[packed["groups"]]
        self.macro = dict(zip(packed["macro_names"].tolist(), packed["macro"], strict=True))
        self.local = dict(zip(packed["local_names"].tolist(), packed["local"], strict=True))
        self.units = dict(
            zip(packed["units_names"].tolist(), packed["units"].astype(np.float32), strict=True)
        )
        mouth = np.isin(self.group, ("helper-upper-teeth", "helper-lower-teeth", "helper-tongue"))
        mouth |= self.inside_mouth.mean(1) > 0.5
        self.surfaces = mouth + 2 * np.isin(self.group, ("helper-l-eye", "helper-r-eye"))
        self.eye_vertices = [np.unique(self.triangles[self.group == f"helper-{e}-eye"]) for e in "lr"]
        self.lip_vertices = np.unique(self.triangles[(self.lips.mean(1) > 0.5) & (self.group == "body")])
        self._mouth_points = self._find_mouth_points()

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """[2, 3]: the left and the right eye of the person."""
        return np.stack([vertices[used].mean(0) for used in self.eye_vertices])

    def mouth(self, vertices: np.ndarray) -> np.ndarray:
        """Gap between the inner lips and distance of the corners of the mouth, in iris distances, [2].

        What `dawn_model.face.mouth` measures on a picture, here exactly.
        """
        upper, lower, left, right = vertices[list(self._mouth_points)]
        unit = np.linalg.norm(np.subtract(*self.eye_centres(vertices)))
        return np.array([max(0.0, upper[1] - lower[1]), np.linalg.norm(left - right)], np.float32) / unit

    @property
    def upper_lip(self) -> int:
        """The vertex in the middle of the upper inner lip."""
        return self._mouth_points[0]

    def _find_mouth_points(self) -> tuple[int, int, int, int]:
        """Vertices in the middle of the upper and of the lower inner lip, and at the two corners."""
        lips = self.lip_vertices
        at, follows_jaw = self.vertices[lips], np.linalg.norm(self.units["jawOpen"][lips], axis=1) > 0.2
        middle = (np.abs(at[:, 0]) < 0.01) & (at[:, 2] > at[:, 2].max() - 0.07)
        upper = min(np.flatnonzero(middle & ~follows_jaw), key=lambda i: at[i, 1])
        lower = max(np.flatnonzero(middle & follows_jaw), key=lambda i: at[i, 1])
        return tuple(int(lips[i]) for i in (upper, lower, at[:, 0].argmin(), at[:, 0].argmax()))


@dataclass(frozen=True)
class Person:
    """vertices [N, 3] at rest; colours [T, 3, 3] per triangle corner; triangles: those that are worn;
    surfaces [T]: skin and hair 0, inside of the mouth 1, eyeballs 2;
    neck [3]: what the head turns about; turning [N, 1]: how much of a head turn each vertex follows;
    light [3]: where it comes from; gloss: strength of the highlights; ambient: light from everywhere.
    """

    vertices: np.ndarray
    colours: np.ndarray
    triangles: np.ndarray
    surfaces: np.ndarray
    neck: np.ndarray
    centre: np.ndarray
    turning: np.ndarray
    light: np.ndarray
    gloss: float
    ambient: float


def random_person(mesh: HeadMesh, rng: np.random.Generator) -> Person:
    """Everything about a person is drawn from `rng`."""
    vertices, colours = _random_mouth(mesh, _random_shape(mesh, rng), _random_colours(mesh, rng), rng)
    worn = _hair_cut(mesh, rng)
    eyes = mesh.eye_centres(vertices).mean(0)
    neck = eyes + np.array([0, -1.35, -0.9])
    above = (vertices[:, 1] - neck[1]) + 0.9 * np.clip(vertices[:, 2] - neck[2] - 0.15, 0, None)
    return Person(
        vertices=vertices.astype(np.float32),
        colours=colours[worn].clip(0, 1).astype(np.float32),
        triangles=mesh.triangles[worn],
        surfaces=mesh.surfaces[worn],
        neck=neck,
        centre=eyes + np.array([0, -0.25, -0.6]),
        turning=np.clip(above / 0.55, 0, 1)[:, None].astype(np.float32),
        light=np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.1, 0.8), 1.0]),
        gloss=float(rng.uniform(0, 0.18)),
        ambient=float(rng.uniform(0.3, 0.65)),
    )


def _random_shape(mesh: HeadMesh, rng: np.random.Generator) -> np.ndarray:
    vertices = mesh.vertices.astype(np.float64)
    origin = rng.dirichlet([0.6] * 3)
    male, old = float(rng.random() < 0.5) * 0.8 + 0.1, rng.random() ** 2 * 0.6
    for ethnicity, share in zip(("african", "asian", "caucasian"), origin, strict=True):
        for sex, of_sex in (("male", male), ("female", 1 - male)):
            for age, of_age in (("young", 1 - old), ("old", old)):
                vertices += share * of_sex * of_age * mesh.macro[f"{ethnicity}-{sex}-{age}"]
    names = sorted(name for name in mesh.local if not name.startswith("r-"))
    for name in rng.choice(names, _LOCAL_TARGETS, replace=False):
        amount = rng.uniform(0, 0.45)
        vertices += amount * mesh.local[name]
        if name.startswith("l-") and "r-" + name[2:] in mesh.local:
            vertices += amount * mesh.local["r-" + name[2:]]
    return vertices


def _random_colours(mesh: HeadMesh, rng: np.random.Generator) -> np.ndarray:
    """Colour at every corner of every triangle, [T, 3, 3]."""
    skin = SKIN[rng.choice(5, p=[0.3, 0.25, 0.2, 0.15, 0.1])] * rng.uniform(0.9, 1.05)
    hair = HAIR[rng.integers(6)] * rng.uniform(0.7, 1.2)
    lip = skin * np.array([0.95, 0.62, 0.62]) * rng.uniform(0.8, 1.1)
    lips, lids, inside = (m[..., None] for m in (mesh.lips, mesh.lids, mesh.inside_mouth))
    corners, skin_part = mesh.vertices[mesh.triangles], (mesh.group == "body")[:, None]
    eyes = mesh.eye_centres(mesh.vertices)
    level, height, depth = eyes.mean(0), corners[..., 1], corners[..., 2]

    colours = np.broadcast_to(skin, (*mesh.triangles.shape, 3)) * (1 - lips) + lip * lips
    colours = colours * (1 - rng.uniform(0, 0.35) * lids)
    colours = colours * (1 - inside) + np.array([0.42, 0.15, 0.15]) * rng.uniform(0.6, 1.1) * inside
    if rng.random() < 0.25:  # a beard
        beard = skin_part / (1 + np.exp((height - (level[1] - 0.62)) / 0.05))
        beard = beard * (height > level[1] - 1.3) * (depth > level[2] - 0.9) * (1 - mesh.lips)
        beard = beard[..., None] * rng.uniform(0.3, 0.9)
        colours = colours * (1 - beard) + hair * beard
    grain = rng.choice([0.0, 0.05, 0.1, 0.2])
    waves = sum(
        np.sin(corners @ (rng.normal(size=3) * rng.choice([1.5, 4, 9])) + rng.uniform(0, 6.3))
        for _ in range(10)
    )
    colours = colours * (1 + grain / 3 * waves[..., None])
    _paint_eyes(mesh, colours, IRIS[rng.integers(4)] * rng.uniform(0.7, 1.2), hair)
    for name, colour in (
        ("helper-upper-teeth", [0.92, 0.90, 0.85]),
        ("helper-lower-teeth", [0.86, 0.84, 0.80]),
        ("helper-tongue", [0.70, 0.32, 0.32]),
        ("helper-hair", hair),
    ):
        colours[mesh.group == name] = colour
    brow_strength = rng.uniform(0.3, 0.95)
    for eye in eyes:
        across = (corners[..., 0] - eye[0]) * np.sign(eye[0])
        up = height - (eye[1] + 0.215 + 0.03 * np.cos(across * 6))
        brow = np.exp(-((up / 0.045) ** 2)) * (np.abs(across - 0.02) < 0.27) * (depth > eye[2] - 0.15)
        brow = (brow * skin_part * brow_strength)[..., None]
        colours = colours * (1 - brow) + hair * brow
    scalp = (height > level[1] + 0.62) | ((depth < level[2] - 0.75) & (height > level[1] - 0.5))
    colours[scalp & skin_part] = hair
    colours[(height < level[1] - 1.75) & skin_part] = rng.uniform(0.05, 0.9, 3)
    return colours


def _paint_eyes(mesh: HeadMesh, colours: np.ndarray, iris: np.ndarray, hair: np.ndarray) -> None:
    for side in "lr":
        ball = mesh.group == f"helper-{side}-eye"
        corners = mesh.vertices[mesh.triangles[ball]]
        out = corners - corners.reshape(-1, 3).mean(0)
        away = np.arccos(np.clip(out[..., 2] / np.maximum(np.linalg.norm(out, axis=-1), 1e-6), -1, 1))[
            ..., None
        ]
        colours[ball] = np.where(away < 0.22, 0.03, np.where(away < 0.52, iris, [0.92, 0.91, 0.90]))
        for lash in "12":
            colours[mesh.group == f"helper-{side}-eyelashes-{lash}"] = hair * 0.4


def _hair_cut(mesh: HeadMesh, rng: np.random.Generator) -> np.ndarray:
    """Which triangles are worn, [T]: short, bob or long hair."""
    middle = mesh.vertices[mesh.triangles].mean(1)
    eyes = mesh.eye_centres(mesh.vertices).mean(0)
    lowest = (eyes[1] + 0.1, eyes[1] - 1.3, -9.0)[rng.integers(3)]
    top = (middle[:, 1] > eyes[1] + 0.55) & (middle[:, 2] < eyes[2] + 0.2)
    back = (middle[:, 2] < eyes[2] - 0.75) & (middle[:, 1] > lowest)
    return (mesh.group != "helper-hair") | top | back


def _random_mouth(mesh: HeadMesh, vertices: np.ndarray, colours: np.ndarray, rng: np.random.Generator):
    """Teeth and tongue set apart and shaded: vertices and colours changed.

    The mesh's tongue fills the cavity in the colour of lips, and no light is blocked in the renderer: a mouth would
    open on more lip. So tongue and lower teeth move down and back, and colours fade with the distance behind the lips.
    """
    parts = {
        part: np.unique(mesh.triangles[mesh.group == f"helper-{part}"])
        for part in ("tongue", "upper-teeth", "lower-teeth")
    }
    vertices, colours = vertices.copy(), colours.copy()
    vertices[parts["tongue"]] -= [0, rng.uniform(0.0, 0.10), rng.uniform(0.0, 0.14)]
    upper_lip = vertices[mesh.upper_lip, 1]
    bare = rng.uniform(*_BARE_TEETH)
    vertices[parts["upper-teeth"]] += [
        0,
        upper_lip - bare - vertices[parts["upper-teeth"]][:, 1].min(),
        rng.uniform(0, 0.03),
    ]
    vertices[parts["lower-teeth"]] -= [0, rng.uniform(0.03, 0.07), rng.uniform(0, 0.03)]
    corners = vertices[mesh.triangles]
    behind = np.clip(vertices[mesh.lip_vertices][:, 2].max() - corners[..., 2], 0, None)
    teeth = np.isin(mesh.group, ("helper-upper-teeth", "helper-lower-teeth"))
    cavity = (mesh.surfaces == 1) & ~teeth
    fading = np.exp(-np.clip(behind - 0.08, 0, None) / rng.uniform(0.1, 0.4))[..., None]
    colours[cavity] *= (0.12 + 0.88 * fading[cavity]) * rng.uniform(0.35, 0.65)
    tooth = rng.uniform(0.078, 0.09)
    between = np.exp(-((((corners[..., 0] / tooth + 0.5) % 1 - 0.5) / 0.08) ** 2))[..., None]
    fading = (0.7 + 0.3 * np.exp(-np.clip(behind - 0.12, 0, None) / 0.16))[..., None]
    tint = np.array([1.0, rng.uniform(0.95, 1.0), rng.uniform(0.86, 1.0)])
    colours[teeth] *= (
        ((1 - rng.uniform(0.15, 0.35) * between) * fading)[teeth] * tint * rng.uniform(0.95, 1.1)
    )
    return vertices, colours
