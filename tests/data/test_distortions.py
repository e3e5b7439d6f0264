"""Distorted images are those of SciPy's interpolation, and dots move where the maps say."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from fnnet import distort
from fnnet.data.distortions import (
    _linear_fields,
    _modes,
    affine_coefficients,
    resample,
    smooth_noise,
)

Array: TypeAlias = npt.NDArray[Any]

ALL: dict[str, float] = {
    "rotation": 15,
    "scale": 0.15,
    "shear": 0.2,
    "shift": 2,
    "elastic_alpha": 34,
    "elastic_sigma": 4,
}


def pictures(n: int, height: int = 28, width: int = 28, dtype: Any = np.uint8) -> Array:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, height, width), np.uint8)
    return images if dtype == np.uint8 else (images / 255).astype(dtype)


def dots(n: int, y: int, x: int) -> Array:
    """Images of 29 x 29 pixels, of which one is lit."""
    images = np.zeros((n, 29, 29))
    images[:, y, x] = 1
    return images


def centres(images: Array) -> Array:
    """Mean x and y of what is lit, from the centre; (n, 2)."""
    y, x = np.indices(images.shape[1:]) - 14
    total = images.sum((1, 2))
    return np.stack([(images * x).sum((1, 2)) / total, (images * y).sum((1, 2)) / total], 1)


# Interpolation


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(28, 28), (7, 12), (1, 1)])
def test_values_between_pixels_are_those_of_scipy(shape: tuple[int, int], dtype: Any) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    images = pictures(3, *shape, dtype=dtype)
    rng = np.random.default_rng(1)
    places = rng.uniform(-1.2 * max(shape), 1.2 * max(shape), (2, 3, 500)).astype(np.float32)
    middle = (np.array(shape)[:, None, None] - 1) / 2
    expected = [
        ndimage.map_coordinates(image.astype(float), at, order=1, mode="grid-constant")
        for image, at in zip(images, np.swapaxes(places + middle, 0, 1), strict=True)
    ]
    top = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(resample(images, places.copy()), expected, atol=1e-5 * top)


# Fields


@pytest.mark.parametrize(("height", "width", "sigma"), [(28, 28, 4.0), (9, 14, 1.5), (8, 8, 8.0)])
def test_smooth_fields_have_the_covariance_of_smoothed_noise(
    height: int, width: int, sigma: float
) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")

    def smoothing(side: int) -> Array:
        smooth = ndimage.gaussian_filter1d(np.eye(side), sigma, mode="constant", truncate=8)
        return np.asarray(smooth)

    a, b = smoothing(height), smoothing(width)
    expected = np.kron(a @ a.T, b @ b.T) / 3
    np.testing.assert_allclose(
        covariance(height, width, sigma), expected, atol=2e-3 * expected.max()
    )


def covariance(height: int, width: int, sigma: float) -> Array:
    """What `smooth_noise` promises: that of independent normal numbers, each times its wave."""
    (rows, s), (columns, t) = _modes(height, sigma), _modes(width, sigma)
    a, b = rows.astype(np.float64) * s, columns.astype(np.float64) * t
    return np.kron(a @ a.T, b @ b.T) / 3


def test_smooth_noise_has_its_covariance() -> None:
    noise = smooth_noise(np.random.default_rng(0), (2, 20_000), 5, 7, 2.0).astype(np.float64)
    assert noise.shape == (2, 20_000, 35)
    flat = noise.reshape(-1, 35)
    expected = covariance(5, 7, 2.0)
    np.testing.assert_allclose(flat.T @ flat / len(flat), expected, atol=0.02 * expected.max())
    assert np.abs(np.mean(noise[0] * noise[1], 0)).max() < 0.02 * expected.max()


def test_digits_need_few_smooth_waves() -> None:
    assert len(_modes(28, 4.0)[1]) <= 10


def test_large_images_take_memory_like_their_own() -> None:
    tracemalloc.start()
    distort(0, np.zeros((1, 256, 256), np.uint8), elastic_alpha=34)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_displacements_are_as_large_as_the_documentation_says() -> None:
    deviation = 34 * np.sqrt(np.diag(covariance(28, 28, 4.0))).reshape(28, 28)
    np.testing.assert_allclose(deviation[8:-8, 8:-8], 0.16 * 34 / 4, rtol=0.1)


# Affine maps


@pytest.mark.parametrize("seed", range(5))
def test_pixels_come_from_where_the_inverse_map_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle, wider, higher, slant, right, down = rng.uniform(-0.5, 0.5, (6, 1))
    places = affine_coefficients(angle, wider, higher, slant, right, down) @ _linear_fields(5, 8)
    c, s = math.cos(angle[0]), math.sin(angle[0])
    forward = (  # y points down, so that this turns counterclockwise
        np.array([[c, s], [-s, c]])
        @ np.array([[1, slant[0]], [0, 1]])
        @ np.diag([1 + wider[0], 1 + higher[0]])
    )
    y, x = places[:, 0].astype(np.float64)
    new = forward @ np.array([x, y]) + np.array([right, down])
    rows, columns = np.indices((5, 8)).reshape(2, -1)
    np.testing.assert_allclose(new, [columns - 3.5, rows - 2], atol=1e-5)


def test_a_dot_is_rotated_about_the_centre_by_no_more_than_the_angle() -> None:
    found = centres(distort(0, dots(2000, 14, 24), rotation=30))
    angles = np.degrees(np.arctan2(-found[:, 1], found[:, 0]))
    np.testing.assert_allclose(np.hypot(*found.T), 10, atol=0.3)
    assert np.abs(angles).max() < 31
    assert np.abs(np.quantile(angles, [0.25, 0.5, 0.75]) - [-15, 0, 15]).max() < 2


def test_a_dot_is_shifted_by_no_more_than_the_shift() -> None:
    found = centres(distort(0, dots(2000, 14, 14), shift=3))
    assert np.abs(found).max() <= 3 + 1e-5
    assert np.abs(np.quantile(found, [0.25, 0.5, 0.75], 0) - [[-1.5], [0], [1.5]]).max() < 0.3
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.1


def test_a_dot_is_stretched_away_from_the_centre() -> None:
    x, y = centres(distort(0, dots(2000, 14, 22), scale=0.25)).T
    assert np.abs(y).max() < 1e-5
    assert 8 * 0.74 < x.min() < 8 * 0.77
    assert 8 * 1.23 < x.max() < 8 * 1.26


def test_a_dot_below_the_centre_is_sheared_to_the_side() -> None:
    x, y = centres(distort(0, dots(2000, 24, 14), shear=0.3)).T
    np.testing.assert_allclose(y, 10, atol=1e-5)
    assert 2.9 < np.abs(x).max() <= 3.01
    assert abs(np.median(x)) < 0.3


# The whole


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(30, 28, 28), (30, 784), (30, 7, 12), (0, 28, 28), (1, 1, 1)])
def test_shape_and_dtype_stay(shape: tuple[int, ...], dtype: Any) -> None:
    images = np.ones(shape, dtype)
    distorted = distort(0, images, **ALL)
    assert distorted.shape == shape
    assert distorted.dtype == dtype
    assert distorted.flags.writeable


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_settings_of_zero_leave_images_as_they_are(dtype: Any) -> None:
    images = pictures(30, dtype=dtype)
    distorted = distort(0, images, elastic_sigma=2.0)
    assert distorted.tobytes() == images.tobytes()
    assert not np.shares_memory(distorted, images)


def test_settings_near_zero_leave_images_nearly_as_they_are() -> None:
    images = pictures(30, dtype=np.float64)
    settings = {name: 1e-4 for name in ALL if name != "elastic_sigma"}
    np.testing.assert_allclose(distort(0, images, **settings), images, atol=1e-2)


def test_images_follow_from_the_seed() -> None:
    images = pictures(50)
    one, two, other = (distort(seed, images, **ALL) for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_each_image_is_distorted_in_its_own_way() -> None:
    images = np.repeat(pictures(1), 40, axis=0)
    distorted = distort(0, images, elastic_alpha=34.0)
    assert len({image.tobytes() for image in distorted}) == 40


def test_the_generator_goes_on() -> None:
    rng, images = np.random.default_rng(0), pictures(3)
    assert not np.array_equal(distort(rng, images, **ALL), distort(rng, images, **ALL))


def test_rows_are_distorted_as_images_are_and_bytes_as_floats() -> None:
    images = pictures(50)
    whole = distort(0, images, **ALL)
    assert np.array_equal(distort(0, images.reshape(50, -1), **ALL), whole.reshape(50, -1))
    floats = distort(0, images.astype(np.float64), **ALL)
    assert np.abs(floats - whole).max() < 0.51
    views = np.asfortranarray(images.astype(np.float32))[::2]
    assert np.abs(distort(0, views, **ALL) - distort(0, views.copy(), **ALL)).max() == 0


def test_nothing_brighter_or_darker_than_the_image_appears() -> None:
    white = distort(0, np.full((200, 28, 28), 255, np.uint8), **ALL)
    assert white[:, 10:18, 10:18].min() == 255
    assert distort(0, np.zeros((20, 28, 28), np.float32), **ALL).max() == 0


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e4])
@pytest.mark.parametrize("name", ["rotation", "shear", "shift", "elastic_alpha", "elastic_sigma"])
def test_extreme_settings_give_pixels_of_the_image(name: str, size: float) -> None:
    settings = {"elastic_alpha": 1.0, name: min(size, 1.0) if name == "shear" else size}
    distorted = distort(0, np.full((2, 6, 6), 7.0, np.float32), **settings)
    assert np.all((distorted >= 0) & (distorted <= 7))


@pytest.mark.parametrize(
    ("images", "settings", "error", "message"),
    [
        (np.zeros((2, 3, 3), int), {}, TypeError, "images must be uint8, float32 or float64, got"),
        (np.zeros((2, 3)), {}, ValueError, r"images must have shape .*, got \(2, 3\)"),
        (np.zeros(4), {}, ValueError, r"images must have shape .*, got \(4,\)"),
        (np.zeros((1, 2, 2, 2)), {}, ValueError, r"images must have shape .*, got \(1, 2, 2, 2\)"),
        (np.zeros((0, 4096, 4096)), {}, ValueError, r"images must have at most 2\*\*24 pixels"),
        (np.zeros((1, 2, 2)), {"rotation": -1}, ValueError, "rotation must be .* >= 0, got -1"),
        (np.zeros((1, 2, 2)), {"shift": np.nan}, ValueError, "shift must be .* >= 0, got nan"),
        (np.zeros((1, 2, 2)), {"scale": 1}, ValueError, r"scale must lie in \[0, 1\), got 1"),
        (np.zeros((3, 0, 5)), {}, ValueError, r"images must have shape .*, got \(3, 0, 5\)"),
        (np.zeros((1, 2, 2)), {"elastic_sigma": 0}, ValueError, r"elastic_sigma must lie in \(0,"),
        (np.zeros((1, 2, 2)), {"elastic_sigma": 10001}, ValueError, r"elastic_sigma must .*10001"),
        (
            np.zeros((1, 2, 2)),
            {"shear": 8},
            ValueError,
            r"\[0, 1\], got 8: it is a tangent.*degrees",
        ),
        (np.zeros((1, 2, 2)), {"shift": 10001}, ValueError, "shift must be at most 10000, got 10"),
        (np.zeros((1, 2, 2)), {"elastic_alpha": "1"}, ValueError, "elastic_alpha must .*got '1'"),
    ],
)
def test_bad_input_is_refused(
    images: Array, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        distort(0, images, **settings)
