"""Outlines of labelled objects along the borders of their pixels, as polygons that are valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Ring = list[tuple[int, int]]
Polygon = list[Ring]

RIGHT = {(1, 0): (0, 1), (0, 1): (-1, 0), (-1, 0): (0, -1), (0, -1): (1, 0)}  # with y downwards
LEFT = {after: before for before, after in RIGHT.items()}


def simplified(line: npt.NDArray[np.float64], tolerance: float) -> npt.NDArray[np.float64]:
    """Those points of a line from which no point left out is farther than `tolerance`.

    Parameters
    ----------
    line : ndarray, shape (n, 2)
        Points in turn, at least one; the last is the first where it is closed.
    tolerance : float
        In its units.

    Returns
    -------
    ndarray, shape (k, 2)
        With the first and the last point.

    References
    ----------
    Douglas & Peucker (1973), Cartographica 10, 112-122, doi:10.3138/FM57-6770-U75U-7727.

    Examples
    --------
    >>> simplified(np.array([[0.0, 0.0], [1.0, 0.1], [2.0, 0.0], [2.0, 2.0]]), 0.2).tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]
    """
    kept = np.zeros(len(line), dtype=bool)
    kept[[0, -1]] = True
    spans = [(0, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        chord, away = line[last] - line[first], line[first + 1 : last] - line[first]
        square = float(chord @ chord)
        if square:
            away = away - np.clip(away @ chord / square, 0.0, 1.0)[:, None] * chord
        distance = (away**2).sum(axis=1)
        farthest = int(np.argmax(distance))
        if distance[farthest] > tolerance**2:
            middle = first + 1 + farthest
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return line[kept]


def object_polygons(objects: npt.NDArray[np.integer[Any]]) -> dict[int, list[Polygon]]:
    """Polygons of every object, which cover its pixels exactly.

    Pixel (row, column) is the square from (column, row) to (column + 1, row + 1). Parts that meet in a corner only are
    polygons of their own; where a part meets itself in a corner, what it encloses is a hole that touches the outer ring
    there, which is valid by the rules of simple features.

    Parameters
    ----------
    objects : ndarray of int, shape (n_rows, n_columns)
        0 is background.

    Returns
    -------
    dict of int to list of polygon
        By label. A polygon is a list of rings of (x, y): the outer one with x to the right and y downwards clockwise to
        the eye (positive area by the shoelace formula), then its holes, the other way round. Rings are closed, and have a
        point only where they turn.

    References
    ----------
    Herring (2011) OGC 06-103r4, Simple feature access, section 6.1.11.

    Examples
    --------
    >>> object_polygons(np.array([[0, 3], [0, 3]]))
    {3: [[[(1, 0), (2, 0), (2, 2), (1, 2), (1, 0)]]]}
    """
    found: dict[int, list[Polygon]] = {}
    boxes: list[Any] = list(ndimage.find_objects(objects))
    for label, box in enumerate(boxes, start=1):
        if box is None:
            continue
        parts, n_parts = ndimage.label(objects[box] == label)
        rows, columns = box
        found[label] = [
            part_polygon(np.pad(parts == part, 1), columns.start - 1, rows.start - 1) for part in range(1, n_parts + 1)
        ]
    return found


def part_polygon(mask: npt.NDArray[np.bool_], x: int, y: int) -> Polygon:
    """Outer ring and holes of one part, connected over edges; `mask` has an empty rim, and begins at (x, y)."""
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    inside, outside = mask[1:-1, 1:-1], ~mask
    # Borders run with the part on their right: the upper one to the right, the lower one to the left, and so on.
    for edge, start, way in (
        (inside & outside[:-2, 1:-1], (0, 0), (1, 0)),
        (inside & outside[1:-1, 2:], (1, 0), (0, 1)),
        (inside & outside[2:, 1:-1], (1, 1), (-1, 0)),
        (inside & outside[1:-1, :-2], (0, 1), (0, -1)),
    ):
        for row, column in np.argwhere(edge).tolist():
            ways.setdefault((column + 1 + start[0], row + 1 + start[1]), []).append(way)
    rings = []
    while ways:
        first = min(ways, key=lambda point: (point[1], point[0]))
        rings.append([(px + x, py + y) for px, py in walk(ways, first)])
    return rings


def walk(ways: dict[tuple[int, int], list[tuple[int, int]]], first: tuple[int, int]) -> Ring:
    """A ring from its topmost, leftmost corner; the borders it takes are removed from `ways`."""
    ring, point, way = [first], first, ways[first][0]
    while True:
        left = ways[point]
        left.remove(way)
        if not left:
            del ways[point]
        point = (point[0] + way[0], point[1] + way[1])
        if point == first:
            ring.append(point)
            return ring
        choices = ways[point]
        onward = way if way in choices else LEFT[way] if LEFT[way] in choices else RIGHT[way]
        if onward != way:
            ring.append(point)
        way = onward
