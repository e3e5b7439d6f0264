"""The objects on a picture: pieces of ink, without borders, boxes, rules and specks, gathered."""

from __future__ import annotations

import numpy as np

from fnnet.pictures import strokes, writing
from fnnet.pictures.ink import Ink

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
