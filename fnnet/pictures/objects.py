"""The objects on a picture: pieces of ink, without borders, boxes, rules and specks, gathered."""

from __future__ import annotations

import numpy as np

from fnnet.pictures import strokes, writing
from fnnet.pictures.ink import Ink

SAME = 0.3  # of the ink's contrast: what differs less from ink is as dark
CUT = 1.3  # of an object's size: what is longer at the edge is a border
FEWEST = 3  # points: fewer at the edge are no stroke
SPECK = 6  # points: what has fewer is no stroke


def objects_of(ink: Ink, least: float, apart: float) -> tuple[strokes.Labels, list[strokes.Piece]]:
    """The objects that the ink shows, from left to right, and the labels of their pieces.

    What is no larger than `least`, in pixels, is none; how far `apart` two are, says their form.
    """
    if ink.high < ink.floor:
        return np.zeros(ink.mask.shape, np.int32), []
    shape = ink.mask.shape
    labels, every = strokes.pieces(ink.mask)
    inner = [
        piece
        for piece in every
        if piece.area >= SPECK
        and not strokes.is_border(labels, piece)
        and (not strokes.off_edge(piece, shape) or _is_edged(ink, labels == piece.labels[0]))
    ]
    around = strokes.frames(labels, inner)
    around += strokes.rules([piece for piece in inner if piece not in around])
    inner = [piece for piece in inner if piece not in around]
    top = max((piece.area for piece in inner), default=0)
    objects = strokes.gather([piece for piece in inner if piece.area >= 0.03 * top], apart)
    largest = max((piece.size for piece in objects), default=0)
    least = max(0.35 * largest, least)
    objects = [piece for piece in objects if piece.size > least]
    return labels, sorted(objects, key=lambda piece: piece.left)


def _is_edged(ink: Ink, mask: strokes.Mask) -> bool:
    """Whether a piece is no corner that a shadow cuts off."""
    return writing.edge_share(ink.values, mask, ink.high) > 0.8


def is_cut(ink: Ink, labels: strokes.Labels, piece: strokes.Piece) -> bool:
    """Whether an object runs off the edge of the picture.

    Where a stroke lies along the edge, nothing tells its paper, and it has no contrast; but it is
    there, as dark as the object. A border is longer, and paper lies between it and the object.
    """
    if strokes.off_edge(piece, ink.mask.shape):
        return True
    height, width = ink.mask.shape
    box = slice(piece.top, piece.bottom), slice(piece.left, piece.right)
    usual = float(np.median(ink.values[box][np.isin(labels[box], piece.labels)]))
    like = np.abs(ink.values - usual) < SAME * ink.high
    rows, columns = (piece.top, piece.bottom), (piece.left, piece.right)
    return any(
        _goes_on(turned, start, *beside, piece.size)
        for turned, start, beside in (
            (like, piece.top, columns),
            (like[::-1], height - piece.bottom, columns),
            (like.T, piece.left, rows),
            (like.T[::-1], width - piece.right, rows),
        )
    )


def _goes_on(like: strokes.Mask, start: int, first: int, stop: int, size: int) -> bool:
    """Whether ink above an object goes on to the first row, or a short piece of it lies there."""
    if np.count_nonzero(like[:start, first:stop].all(axis=0)) >= FEWEST:
        return True
    reach = round(strokes.NEAR * size)
    near = like[0, max(first - reach, 0) : stop + reach]
    short = np.count_nonzero(like[0]) < CUT * size
    return bool(start <= reach and short and np.count_nonzero(near) >= FEWEST)
