"""The forms that data sets give their images: how large, and where in the image the ink lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Form:
    """Where the ink lies in the images that a network was trained on.

    Attributes
    ----------
    side : rows and columns of an image
    rows, columns : the box that the ink fills, at most `side`
    centre : what lies in the middle of the image, the ink's "mass" or its "box"
    stretch : whether ink that is wider than its box is squeezed, or else made smaller as a whole
    writing : whether images show strokes of a pen; what has none is then doubted
    apart : free columns between two objects that are about as high as each other, at least, as a
        share of their height; parts of one object lie nearer
    """

    side: int
    rows: int
    columns: int
    centre: Literal["mass", "box"] = "mass"
    stretch: bool = False
    writing: bool = True
    apart: float = 0.2


# Measured on the training images. MNIST: the longer side of the ink is 20 pixels, its centre of
# mass at (14.0, 14.0). Embedded digits: the ink fills all 8 rows and, but for thin digits, 6
# columns, their centre at 3.6. Garments and KMNIST's characters fill their images.
# Of 6,000 of MNIST's digits one hangs apart in two parts of like height with more than 3 % free.
FORMS = {
    "mnist": Form(28, 20, 20, apart=0.03),
    "fashion-mnist": Form(28, 28, 28, centre="box", writing=False),
    "kmnist": Form(28, 28, 28, centre="box"),
    "digits": Form(8, 8, 6, centre="box", stretch=True, apart=0.03),
}


def form_of(dataset: str | None, side: int) -> Form:
    """The form of a data set's images; of an unknown one, what its images' size suggests.

    Parameters
    ----------
    dataset : its name, as in `FORMS`; another name, or none, is unknown
    side : rows and columns of its images; a known form of another size is not taken
    """
    known = FORMS.get(dataset or "")
    if known is not None and known.side == side:
        return known
    guess = {28: FORMS["mnist"], 8: FORMS["digits"]}.get(side)
    return guess or Form(side, side, side, centre="box", writing=False)
