"""Draws a person, and says exactly where every pixel was in another drawing of the same person.

Pixel coordinates are whole numbers at pixel centres, x right and y down; the projection is orthographic.
Drawings are made at twice the picture's size and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .head import HeadMesh, Person
from .rasteriser import rasterise

_WIDTH = 2.55
"""Decimetres that the uncropped view is wide."""
_SAME_SURFACE = 5.0 / 256
"""Sides of the drawing by which a point may lie behind what is drawn and still count as seen."""


_MISLED = 1.5
"""Pixels of the traced drawing by which interpolated flow may miss."""


@dataclass(frozen=True)
class View:
    """Where to look: pixels per `size` of the default view, and its shift in sides of the picture."""

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Surface:
    """Which part of a person lies at every pixel of a drawing.

    vertices [N, 3]: posed; points [N, 3]: where every vertex went, in drawing pixels; depth, seen, weights: see
    `rasterise`
    """

    vertices: np.ndarray
    points: np.ndarray
    depth: np.ndarray
    seen: np.ndarray
    weights: np.ndarray

    @property
    def cover(self) -> np.ndarray:
        """Is it the person? [S, S] bool."""
        return self.seen >= 0


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Degrees about y, then x, then z: positive yaw turns the nose to the picture's right, positive pitch
    down, positive roll counter-clockwise. [3, 3]"""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_z @ about_x @ about_y


def posed(mesh: HeadMesh, person: Person, units: dict[str, float]) -> np.ndarray:
    """Vertices [N, 3] with the weights of some face units, the head straight."""
    vertices = person.vertices.copy()
    for name, weight in units.items():
        if abs(weight) > 1e-4:
            vertices += np.float32(weight) * mesh.units[name]
    return vertices


def project(person: Person, vertices: np.ndarray, turn: np.ndarray, view: View, size: int):
    """Vertices [N, 3] of a straight head → turned, and where they fall in a drawing of `size` pixels [N, 3]."""
    turned = person.neck + (vertices - person.neck) @ turn.T
    vertices = vertices * (1 - person.turning) + turned * person.turning
    scale = size / _WIDTH * view.zoom
    points = np.empty(vertices.shape, np.float32)
    points[:, 0] = (vertices[:, 0] - person.centre[0]) * scale + size * (0.5 + view.x)
    points[:, 1] = size * (0.47 + view.y) - (vertices[:, 1] - person.centre[1]) * scale
    points[:, 2] = vertices[:, 2] * scale
    return vertices, points


def surface_of(person: Person, vertices: np.ndarray, turn: np.ndarray, view: View, size: int) -> Surface:
    """What is seen at every pixel of a person whose vertices come from `posed`."""
    vertices, points = project(person, vertices, turn, view, size)
    return Surface(vertices, points, *rasterise(points, person.triangles, size))


def shade(person: Person, surface: Surface) -> np.ndarray:
    """RGB [S, S, 3] in 0..1: Blinn-Phong shading over interpolated normals; the background is black."""
    triangles, covered = person.triangles, surface.cover
    drawn, mix = surface.seen[covered], surface.weights[covered][:, :, None]
    normal = (_vertex_normals(surface.vertices, triangles)[triangles[drawn]] * mix).sum(1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    normal *= np.where(normal[:, 2:] < 0, -1, 1)
    light = person.light / np.linalg.norm(person.light)
    half = light + np.array([0, 0, 1])
    diffuse = np.clip(normal @ light, 0, 1)
    gloss = person.gloss * np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 24
    colour = (person.colours[drawn] * mix).sum(1)
    picture = np.zeros((*covered.shape, 3), np.float32)
    shaded = colour * (person.ambient + (1.1 - person.ambient) * diffuse)[:, None] + gloss[:, None]
    picture[covered] = shaded.clip(0, 1) ** (1 / 1.1)
    return picture


def _vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(faces[:, k], 3), len(vertices)) for k in range(3)], axis=1
    )
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)


def shrink(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares: [S, S, …] → [S / factor, S / factor, …]."""
    size = pixels.shape[0] // factor
    return pixels.reshape(size, factor, size, factor, *pixels.shape[2:]).mean((1, 3))


def flow_between(
    person: Person, source: Surface, target: Surface, cells: int, delicate: np.ndarray | None = None
):
    """For every cell of the target: how far away it was in the source, and whether it could be seen there.

    Returns the displacement [2, cells, cells] in sides of the picture (x, then y; zero for background), and
    visibility [cells, cells] in 0..1, averaged over each cell. Teeth are millimetres behind the lips and the eyes
    behind the lids, so depth alone does not tell: what was seen there must be of the same kind.

    delicate: pixels [S, S] bool that count as visible only where the flow, interpolated between cells, leads to the
    right place. Where open lips shut, it leads from one lip to the other across the teeth, which would show as a gap.
    """
    size = target.seen.shape[0]
    rows, columns = np.indices((size, size), np.float32)
    covered = target.cover
    moved = np.zeros((2, size, size), np.float32)
    corners = source.points[person.triangles[target.seen[covered]]]
    origin = (corners * target.weights[covered][:, :, None]).sum(1)
    moved[0][covered] = (origin[:, 0] - columns[covered]) / size
    moved[1][covered] = (origin[:, 1] - rows[covered]) / size
    nearest = np.clip(np.round(origin[:, :2]).astype(int), 0, size - 1)
    inside = ((origin[:, :2] >= 0) & (origin[:, :2] <= size - 1)).all(1)
    unhidden = origin[:, 2] > source.depth[nearest[:, 1], nearest[:, 0]] - _SAME_SURFACE * size
    there = source.seen[nearest[:, 1], nearest[:, 0]]
    alike = person.surfaces[there] == person.surfaces[target.seen[covered]]
    visible = ~covered & ~source.cover
    visible[covered] = inside & unhidden & alike
    step = size // cells
    flow = moved[:, step // 2 :: step, step // 2 :: step]
    if delicate is not None:
        between = F.interpolate(
            torch.from_numpy(flow.copy())[None], size=(size, size), mode="bilinear", align_corners=False
        )[0].numpy()
        off = np.linalg.norm(between - moved, axis=0) * size
        visible &= ~delicate | (off < _MISLED)
    return flow, shrink(visible.astype(np.float32), step)
