"""Images of digits turned back into strokes: the lines down their middles, as drawn by a mouse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float32]
Pixel = tuple[int, int]

AROUND = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
LARGER = 4  # times, before an image is thinned: its edges are then smooth


def strokes_of(
    image: npt.NDArray[np.uint8], place: tuple[float, float] = (0.5, 0.5), size: float = 0.7
) -> list[Points]:
    """The strokes of an image: about `place`, their longer side `size` of the canvas's."""
    paths = [_smooth(path) for path in trace(thin(_enlarged(image) > 100))]
    paths = [path for path in paths if len(path) > 3] or paths
    points = np.concatenate(paths)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = size / max(float((high - low).max()), 1.0)
    return [((p - (low + high) / 2) * scale + np.array(place)).astype(np.float32) for p in paths]


def _enlarged(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The image with its pixels interpolated."""
    old = np.arange(len(image))
    new = np.linspace(0, len(image) - 1, LARGER * len(image))
    rows = np.array([np.interp(new, old, row) for row in image.astype(float)])
    return np.array([np.interp(new, old, column) for column in rows.T]).T


def thin(mask: Mask) -> Mask:
    """Lines one pixel wide (Zhang and Suen 1984)."""
    ink = np.pad(mask, 1)
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            p = [np.roll(ink, shift, (0, 1)) for shift in AROUND]
            count = np.sum(p, axis=0)
            begins = np.sum([~p[i] & p[(i + 1) % 8] for i in range(8)], axis=0)
            n, e, s, w = p[0], p[2], p[4], p[6]
            inner = (n & e & s) | (e & s & w) if first else (n & e & w) | (n & s & w)
            gone = ink & (count >= 2) & (count <= 6) & (begins == 1) & ~inner
            if gone.any():
                ink, changed = ink & ~gone, True
    return ink[1:-1, 1:-1]


def trace(skeleton: Mask) -> list[Points]:
    """The lines of a skeleton, each followed as straight on as it goes; x and y of its points."""
    whole: set[Pixel] = {(int(r), int(c)) for r, c in np.argwhere(skeleton)}
    left, paths = set(whole), []
    while left:
        # From a loose end, if there is one.
        start = min(left, key=lambda p: (len(_beside(p, left)), p))
        path = [*_beside(start, whole - left)[:1], start]
        left.discard(start)
        while ahead := _beside(path[-1], left):
            path.append(max(ahead, key=lambda p: _straight(path, p)))
            left.discard(path[-1])
        path += [p for p in _beside(path[-1], whole) if p not in path[-3:]][:1]  # a ring closes
        paths.append(np.array(path, np.float32)[:, ::-1])
    return paths


def _beside(pixel: Pixel, among: set[Pixel]) -> list[Pixel]:
    order = sorted(AROUND, key=lambda step: (abs(step[0]) + abs(step[1]), step))
    return [p for a, b in order if (p := (pixel[0] + a, pixel[1] + b)) in among]


def _straight(path: list[Pixel], pixel: Pixel) -> int:
    if len(path) < 2:
        return 0
    (a, b), (c, d) = path[-2:]
    return (c - a) * (pixel[0] - c) + (d - b) * (pixel[1] - d)


def _smooth(path: Points) -> Points:
    padded = np.pad(path, ((2, 2), (0, 0)), "edge")
    columns = [np.convolve(padded[:, k], np.full(5, 0.2), "valid") for k in (0, 1)]
    return np.stack(columns, axis=1).astype(np.float32)
