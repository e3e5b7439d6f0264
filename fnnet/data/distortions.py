"""Distorted copies of images: small affine maps and elastic deformations, drawn afresh each time.

After Simard, Steinkraus and Platt (2003), "Best practices for convolutional neural networks applied
to visual document analysis", and Cireşan, Meier, Gambardella and Schmidhuber (2010), "Deep, big,
simple neural nets for handwritten digit recognition".

Every pixel of a new image is read from a place between the pixels of the old one. All places are
matrix products: random numbers times fixed fields (constant, linear, smooth).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray, as_array, check_not_negative, check_share, is_number
from fnnet.randomness import Seed, generator

Images = TypeVar("Images", bound=npt.NDArray[np.uint8] | npt.NDArray[np.floating[Any]])

Vector: TypeAlias = npt.NDArray[np.float64]

BLOCK = 12_000  # pixels made at once: what thirty passes touch stays in the cache
LARGEST = 1e4  # degrees or pixels: no image is so large, and nothing overflows
FAINTEST = 1e-3  # smooth waves fainter than this share of the strongest are left out


def distort(
    rng: Seed,
    images: Images,
    *,
    rotation: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
    elastic_alpha: float = 0.0,
    elastic_sigma: float = 4.0,
) -> Images:
    """Images, each distorted at random; settings of zero leave them as they are.

    An image is stretched, sheared, rotated about its centre and shifted, in this order, by amounts
    drawn uniformly from the ranges below; then every pixel is displaced by two smooth random
    fields. Between pixels the image is interpolated bilinearly; outside it is 0.

    Parameters
    ----------
    rng : generator, which advances, or a seed
    images : (N, H, W) or (N, side * side) array, uint8, float32 or float64
    rotation : largest angle, in degrees, either way
    scale : largest relative change of width and of height, each drawn on its own, in [0, 1)
    shear : largest shift to the side for each pixel that a pixel lies below the centre, in [0, 1]:
        the tangent of an angle. From degrees, as torchvision and Keras count it, it is
        ``math.tan(math.radians(degrees))``
    shift : largest shift to the side, and up or down, in pixels
    elastic_alpha : strength of the displacements, in pixels: as in the paper, it multiplies random
        numbers between -1 and 1 that a Gaussian has smoothed (here they are normal, with the same
        variance). Far from the edges displacements have a standard deviation of about
        0.16 * elastic_alpha / elastic_sigma, for sigmas above 0.3; at edges it is smaller
    elastic_sigma : standard deviation of that Gaussian, in pixels, > 0: how smooth the fields are.
        The paper has alpha 34 and sigma 4 for digits of 28 x 28 pixels

    Returns
    -------
    images : a new array of the shape and dtype given

    Raises
    ------
    TypeError
        If the images are of another dtype.
    ValueError
        If their shape is another, or a setting is out of range; none may exceed 10,000.

    Examples
    --------
    >>> image = np.zeros((1, 5, 5), np.uint8)
    >>> image[0, 2, 2] = 200
    >>> distort(0, image, shift=1.0).nonzero()[0].size
    4
    """
    rng = generator(rng)
    images = cast(Images, as_array("images", images))
    height, width = _sides(images)
    _check_settings(rotation, scale, shear, shift, elastic_alpha, elastic_sigma)
    if not any((rotation, scale, shear, shift, elastic_alpha)):
        return cast(Images, images.copy())
    bounds = np.array([math.radians(rotation), scale, scale, shear, shift, shift])
    amounts = rng.uniform(-1, 1, (len(images), 6)) * bounds
    affine, fields = affine_coefficients(*amounts.T), _linear_fields(height, width)
    distorted = np.empty_like(images, order="C")
    old, new = (array.reshape(-1, height, width) for array in (images, distorted))
    step = max(1, BLOCK // max(1, height * width))
    for start in range(0, len(images), step):
        block = slice(start, start + step)
        places = affine[:, block] @ fields
        if elastic_alpha:
            noise = smooth_noise(rng, places.shape[:2], height, width, float(elastic_sigma))
            places += np.float32(elastic_alpha) * noise
        values = resample(old[block], places)
        if images.dtype == np.uint8:
            values += np.float32(0.5)  # the conversion rounds down
        new[block] = values.reshape(-1, height, width)
    return cast(Images, distorted)


def _check_settings(
    rotation: float,
    scale: float,
    shear: float,
    shift: float,
    elastic_alpha: float,
    elastic_sigma: float,
) -> None:
    """Raise where a setting of `distort` is out of range."""
    for name, value in (
        ("rotation", rotation),
        ("shift", shift),
        ("elastic_alpha", elastic_alpha),
    ):
        check_not_negative(name, value)
        if value > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST:g}, got {value}")
    check_share("scale", scale)
    if check_not_negative("shear", shear) > 1:
        raise ValueError(
            f"shear must lie in [0, 1], got {shear!r:.99}: it is a tangent, the shift to the side "
            "for each pixel down; for degrees write math.tan(math.radians(degrees))"
        )
    if not (is_number(elastic_sigma) and 0 < elastic_sigma <= LARGEST):
        raise ValueError(f"elastic_sigma must lie in (0, {LARGEST:g}], got {elastic_sigma!r:.99}")


def affine_coefficients(
    angle: FloatArray,
    wider: FloatArray,
    higher: FloatArray,
    slant: FloatArray,
    right: FloatArray,
    down: FloatArray,
) -> npt.NDArray[np.float32]:
    """Where affine maps bring each pixel from, as coefficients of `_linear_fields`.

    Parameters
    ----------
    angle : (n,) radians, counterclockwise as one looks at the image
    wider, higher : (n,) relative changes of width and height
    slant : (n,) shifts to the right for each pixel further down
    right, down : (n,) shifts in pixels

    Returns
    -------
    coefficients : (2, n, 3) of the constant, x and y, first of the old y, then of the old x
    """
    cos, sin = np.cos(angle), np.sin(angle)
    # The maps backwards: shift, rotate, shear, scale.
    y_from_x, y_from_y = sin / (1 + higher), cos / (1 + higher)
    x_from_x, x_from_y = (cos - slant * sin) / (1 + wider), (-sin - slant * cos) / (1 + wider)
    y = [-y_from_x * right - y_from_y * down, y_from_x, y_from_y]
    x = [-x_from_x * right - x_from_y * down, x_from_x, x_from_y]
    return np.array([y, x], np.float32).swapaxes(1, 2)


def resample(images: npt.NDArray[Any], places: npt.NDArray[np.float32]) -> FloatArray:
    """Values of images between their pixels, by bilinear interpolation; 0 outside.

    Parameters
    ----------
    images : (n, H, W) array
    places : (2, n, M) y and x, in pixels from the centre; changed in place

    Returns
    -------
    values : (n, M) floats, of the images' dtype if that is a float's
    """
    n, height, width = images.shape
    dtype = np.float32 if images.dtype == np.uint8 else images.dtype
    framed = np.zeros((n, height + 2, width + 2), dtype)  # with a border of zeros
    framed[:, 1:-1, 1:-1] = images
    size, row = framed[0].size, width + 2
    for place, side in zip(places, (height, width), strict=True):
        place += np.float32((side + 1) / 2)
        # The last float below the far edge, so that there is always a next pixel.
        place.clip(0, np.nextafter(np.float32(side + 1), np.float32(0)), out=place)
    corner = np.floor(places)
    down, right = places - corner
    first = (corner[0] * np.float32(row) + corner[1]).astype(np.intp)
    first += size * np.arange(n)[:, None]
    pixels = framed.reshape(-1)
    top, bottom = (
        _between(pixels[skip:].take(first), pixels[skip + 1 :].take(first), right)
        for skip in (0, row)
    )
    return _between(top, bottom, down)


def _between(a: FloatArray, b: FloatArray, share: FloatArray) -> FloatArray:
    b -= a
    b *= share
    b += a
    return b


def _sides(images: npt.NDArray[Any]) -> tuple[int, int]:
    """Height and width, if these can be images."""
    if images.dtype not in (np.uint8, np.float32, np.float64):
        raise TypeError(f"images must be uint8, float32 or float64, got {images.dtype}")
    shape = images.shape
    if len(shape) == 2:
        shape = (len(images), math.isqrt(shape[1]), math.isqrt(shape[1]))
    if len(shape) != 3 or math.prod(shape) != images.size or 0 in shape[1:]:
        raise ValueError(
            f"images must have shape (N, H, W) or (N, side * side), got {images.shape}"
        )
    if (shape[1] + 2) * (shape[2] + 2) > 2**24:
        raise ValueError(
            f"images must have at most 2**24 pixels, a border around them included, "
            f"got {images.shape}"
        )
    return shape[1], shape[2]


def _linear_fields(height: int, width: int) -> npt.NDArray[np.float32]:
    """One, x and y at each pixel, counted from the centre: (3, height * width)."""
    y, x = np.indices((height, width), np.float32).reshape(2, -1)
    return np.stack([np.ones_like(x), x - (width - 1) / 2, y - (height - 1) / 2]).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], height: int, width: int, sigma: float
) -> npt.NDArray[np.float32]:
    """Normal noise of variance 1/3, smoothed by a Gaussian.

    Smoothing is A Z Bᵀ, with a matrix of Gaussians on either side of the noise Z. With A = U S Uᵀ
    and B = V T Vᵀ that is U (S Z' T) Vᵀ, where Z' = Uᵀ Z V is normal noise as well: few numbers,
    as most of S and T is so faint that nobody would see it.

    Parameters
    ----------
    rng : generator, which advances
    shape : how many images of noise
    height, width : of an image
    sigma : standard deviation of the Gaussian, in pixels

    Returns
    -------
    noise : (*shape, height * width) array
    """
    (rows, s), (columns, t) = (_modes(side, sigma) for side in (height, width))
    noise = rng.standard_normal((*shape, len(s), len(t)), np.float32)
    noise *= np.outer(s, t / math.sqrt(3)).astype(np.float32)
    across = (noise.reshape(-1, len(t)) @ columns.T).reshape(*shape, len(s), width)
    return (rows @ across).reshape(*shape, height * width)


@lru_cache(maxsize=16)
def _modes(side: int, sigma: float) -> tuple[npt.NDArray[np.float32], Vector]:
    """Eigenvectors, as columns, and eigenvalues of a convolution with a Gaussian, zeros around.

    Only those that show: Gaussians keep what is smooth.
    """
    reach = math.ceil(8 * sigma)
    everywhere = np.arange(-reach, reach + 1)
    inside = np.subtract.outer(np.arange(side), np.arange(side))
    with np.errstate(over="ignore"):  # exp(-inf) is 0
        total, gaussian = (np.exp(-0.5 * (x / sigma) ** 2) for x in (everywhere, inside))
    strengths, vectors = np.linalg.eigh(gaussian / total.sum())
    strong = strengths > FAINTEST * strengths.max()
    modes = vectors[:, strong].astype(np.float32), strengths[strong]
    for array in modes:
        array.setflags(write=False)  # they are kept for the next call
    return modes
