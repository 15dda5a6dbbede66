"""A z-buffer on the CPU: which triangle is seen at every pixel, and where on it."""

from __future__ import annotations

import numpy as np
from numba import njit

_EDGE = -1e-4


@njit(cache=True, fastmath=True)
def _fill(points, triangles, depth, seen, weights):
    size = depth.shape[0]
    for number in range(triangles.shape[0]):
        a, b, c = triangles[number]
        x0, y0, x1, y1, x2, y2 = (
            points[a, 0],
            points[a, 1],
            points[b, 0],
            points[b, 1],
            points[c, 0],
            points[c, 1],
        )
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        top, bottom = max(0, int(np.floor(min(y0, y1, y2)))), min(size - 1, int(np.ceil(max(y0, y1, y2))))
        left, right = max(0, int(np.floor(min(x0, x1, x2)))), min(size - 1, int(np.ceil(max(x0, x1, x2))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                w2 = 1 - w0 - w1
                if w0 < _EDGE or w1 < _EDGE or w2 < _EDGE:
                    continue
                z = w0 * points[a, 2] + w1 * points[b, 2] + w2 * points[c, 2]
                if z > depth[y, x]:
                    depth[y, x] = z
                    seen[y, x] = number
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = w0, w1, w2


def rasterise(points: np.ndarray, triangles: np.ndarray, size: int):
    """Draw triangles whose corners are pixels (x, y) and depth z, larger is nearer.

    points [N, 3] float32; triangles [T, 3] int32.
    Returns depth [S, S] (−1e9 where nothing is), the triangle seen [S, S] (−1: none) and its barycentric
    weights [S, S, 3], all at the pixels' whole-number coordinates.
    """
    depth = np.full((size, size), -1e9, np.float32)
    seen = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    _fill(points, triangles, depth, seen, weights)
    return depth, seen, weights
