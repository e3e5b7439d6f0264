"""Pictures read as a person reads them: photographs, scans and drawings as a network's images.

`open_picture` decodes a file, `read_picture` finds what is written in its pixels and brings each
object into the form of the data set that a network was trained on; `plot_readings` draws the steps.
A network of digits calls everything a digit: letters, stars and scribbles look like digits to it.
What is no writing at all (areas, patterns, pieces of photographs) is refused.

It needs SciPy, and Pillow for files: ``pip install scipy pillow``, or fnnet's extra ``pictures``.
"""

from fnnet.pictures.figure import plot_readings
from fnnet.pictures.forms import FORMS, Form, form_of
from fnnet.pictures.opening import open_picture
from fnnet.pictures.reading import Found, Reading, Steps, read_picture

__all__ = [
    "FORMS",
    "Form",
    "Found",
    "Reading",
    "Steps",
    "form_of",
    "open_picture",
    "plot_readings",
    "read_picture",
]
