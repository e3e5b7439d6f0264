"""scripts/predict.py as its user meets it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fnnet

Image = pytest.importorskip("PIL.Image")
SCRIPTS = Path(__file__).parents[2] / "scripts"


def load() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module("predict")


predict = load()


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network of 28x28 images with two classes: ink in the left half, ink in the right half."""
    w = np.zeros((28, 28, 2), np.float32)
    w[:, :14, 0] = w[:, 14:, 1] = 1
    params = fnnet.Params((fnnet.Layer(w.reshape(784, 2), np.zeros(2, np.float32)),))
    path = tmp_path / "checkpoint.npz"
    rng = np.random.default_rng(0)
    fnnet.save_checkpoint(path, fnnet.Checkpoint(fnnet.rmsprop_init(params), rng))
    return path


def hook(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Dark ink on light paper: an upright line with a foot to the right; heavier on the left."""
    pixels = np.full((height, width), 240, np.uint8)
    top, bottom, left = height // 5, 4 * height // 5, width // 3
    pixels[top:bottom, left : left + height // 12] = 20
    pixels[bottom - height // 12 : bottom, left : left + height // 4] = 20
    return pixels


def run(network: Path, *images: Path | str) -> int:
    out = str(network.with_name("figure.png"))
    result: int = predict.main([str(network), *map(str, images), "--out", out])
    return result


def test_pictures_are_cropped_scaled_and_centred_like_mnists() -> None:
    image = predict.prepare(hook(200, 300).astype(float), 28)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    total = image.sum()
    for axis in (0, 1):
        assert abs(float(image.sum(axis=1 - axis) @ np.arange(28)) / total - 13.5) <= 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.point(lambda v: 255 - v),
        lambda picture: picture.convert("RGB"),
        lambda picture: picture.convert("P"),
        lambda picture: picture.resize((600, 400), Image.Resampling.NEAREST),
        lambda picture: picture.point(lambda v: 60 + v // 2),
        lambda picture: picture.point(lambda v: 255 - v // 2),
        lambda picture: picture.convert("1", dither=Image.Dither.NONE),
        lambda picture: picture.convert("CMYK").convert("RGB"),
    ],
    ids=["inverted", "colour", "palette", "large", "grey", "light ink on grey", "bilevel", "print"],
)
def test_form_does_not_change_what_is_seen(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    picture = Image.fromarray(hook(200, 300))
    picture.save(tmp_path / "plain.png")
    change(picture).save(tmp_path / "changed.png")
    plain, changed = (
        predict.prepare(predict.open_picture(tmp_path / name), 28).astype(int)
        for name in ("plain.png", "changed.png")
    )
    assert np.abs(plain - changed).max() <= 16  # of 255: sizes are rounded to whole pixels


def test_sixteen_bits_transparency_and_rotation_are_understood(tmp_path: Path) -> None:
    pixels = hook(200, 200)
    expected = predict.prepare(pixels.astype(float), 28).astype(int)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    alpha = np.zeros((200, 200, 4), np.uint8)
    alpha[..., 3] = np.where(pixels < 128, 255, 0)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    turned = Image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    for name in ("deep.png", "alpha.png", "turned.jpg"):
        seen = predict.prepare(predict.open_picture(tmp_path / name), 28).astype(int)
        assert np.abs(seen - expected).mean() < 3, name


def test_noise_and_uneven_light_do_not_change_what_is_seen() -> None:
    pixels = hook(200, 300).astype(float)
    expected = predict.prepare(pixels, 28).astype(int)
    rng = np.random.default_rng(0)
    shade = np.linspace(1.0, 0.75, 300)
    seen = predict.prepare(np.clip(pixels * shade + rng.normal(0, 8, pixels.shape), 0, 255), 28)
    assert np.abs(seen - expected).mean() < 8  # of 255
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.95


def test_white_ink_on_nothing_is_seen(tmp_path: Path) -> None:
    pixels = hook(200, 200)
    clear = np.full((200, 200, 4), 255, np.uint8)
    clear[..., 3] = np.where(pixels < 128, 255, 0)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    seen = predict.prepare(predict.open_picture(tmp_path / "clear.png"), 28).astype(int)
    assert np.abs(seen - predict.prepare(pixels.astype(float), 28)).max() <= 16


def test_pictures_that_show_nothing_are_refused() -> None:
    sparse = np.zeros((2000, 2000))
    sparse[0, 0] = sparse[-1, -1] = 255
    for pixels, message in (
        (sparse, "sparse"),
        (np.full((40, 40), 90.0), "blank"),
        (np.zeros((1, 1)), "blank"),
        (200 + np.arange(1600.0).reshape(40, 40) % 9, "blank"),
    ):
        with pytest.raises(ValueError, match=message):
            predict.prepare(pixels, 28)


def test_floats_that_are_no_numbers_are_paper(tmp_path: Path) -> None:
    pixels = np.zeros((60, 60), np.float32)
    pixels[0, 0] = np.nan
    pixels[20:40, 28:32] = 1
    Image.fromarray(pixels).save(tmp_path / "floats.tiff")
    seen = predict.prepare(predict.open_picture(tmp_path / "floats.tiff"), 28)
    assert np.count_nonzero(seen) == 20 * 4


def test_two_levels_are_those_of_ink_and_paper() -> None:
    ink = np.array([10, 10, 12, 200, 210], np.uint8)
    assert predict.two_levels(ink) == pytest.approx((32 / 3, 205))


@pytest.mark.parametrize("scale", [1, 40])
def test_drawn_digits_are_read_by_a_trained_network(tmp_path: Path, scale: int) -> None:
    """Test digits of fnnet, enlarged on paper of another shape, dark on light and light on dark."""
    data = fnnet.load_digits()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)))
    *_, last = fnnet.train(state, data.train, rng=0, epochs=15)
    seen = []
    for image in data.test.x[:100]:
        large = np.kron(image, np.ones((scale, scale), np.uint8))
        paper = np.pad(large, ((2 * scale, 3 * scale), (5 * scale, scale)))
        pair = [predict.prepare(values.astype(float), 8) for values in (paper, 255 - paper)]
        np.testing.assert_array_equal(*pair)
        seen.append(pair[0])
    split = fnnet.Split(np.stack(seen), data.test.y[:100])
    assert fnnet.evaluate(last.state.params, split).accuracy > 0.75


def test_light_ink_of_the_right_size_is_taken_as_it_is() -> None:
    image = np.zeros((28, 28))
    image[3:9, 20:25] = 200
    np.testing.assert_array_equal(predict.prepare(image, 28), image)


@pytest.mark.parametrize("start", [fnnet.sgd_init, fnnet.adam_init])
def test_a_network_of_any_optimizer_classifies(
    network: Path, capsys: pytest.CaptureFixture[str], start: Any
) -> None:
    params = fnnet.load_checkpoint(network).state.params
    fnnet.save_checkpoint(network, fnnet.Checkpoint(start(params), np.random.default_rng(0)))
    image = np.zeros((28, 28), np.uint8)
    image[:, 20:] = 255
    fnnet.write_idx(network.with_name("images"), image[None])
    assert run(network, network.with_name("images")) == 0
    assert ": 1 " in capsys.readouterr().out


def test_it_prints_a_line_for_each_image_and_draws_them(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = network.with_name("right.png")
    image = np.zeros((28, 28), np.uint8)
    image[:, 20:] = 255
    Image.fromarray(image).save(picture)
    fnnet.write_idx(network.with_name("images.gz"), np.stack([image, image[:, ::-1]]))
    assert run(network, picture, network.with_name("images.gz")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines[:3]] == ["1", "1", "0"]
    assert all(re.search(r": \d \d+\.\d%, then \d \d+\.\d%$", line) for line in lines[:3])
    assert lines[2].startswith(f"{network.with_name('images.gz')}[1]")
    with Image.open(network.with_name("figure.png")) as figure:
        assert min(figure.size) > 50


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.png", None, "absent.png"),
        ("text.png", b"hello", "text.png: neither a whole picture nor an IDX file"),
        ("labels", b"\0\0\x08\x01\0\0\0\x01\x07", "expected uint8 (N, 28, 28)"),
        ("none", b"\0\0\x08\x03\0\0\0\0\0\0\0\x1c\0\0\0\x1c", "expected uint8 (N, 28, 28)"),
        ("cut.gz", b"\x1f\x8b\x08", "cut.gz"),
    ],
)
def test_a_bad_image_is_one_clear_line(
    network: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    path = network.with_name(name)
    if content is not None:
        path.write_bytes(content)
    assert run(network, path) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not network.with_name("figure.png").exists()


def test_a_blank_picture_and_a_cut_one_are_refused(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank, cut = network.with_name("blank.png"), network.with_name("cut.png")
    Image.fromarray(np.full((50, 50), 255, np.uint8)).save(blank)
    Image.fromarray(hook(200, 300)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    for path, message in ((blank, "blank.png: blank"), (cut, "cut.png")):
        assert run(network, path) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("sizes", [(5, 2), None])
def test_a_network_of_another_input_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: tuple[int, ...] | None
) -> None:
    params = fnnet.init_params(0, sizes or (4, 2))
    if sizes is None:  # an ensemble of four networks
        params = fnnet.tree_map(lambda leaf: np.stack([leaf] * 4), params)
    path = tmp_path / "checkpoint.npz"
    rng = np.random.default_rng(0)
    fnnet.save_checkpoint(path, fnnet.Checkpoint(fnnet.rmsprop_init(params), rng))
    assert run(path, "any.png") == 1
    errors = capsys.readouterr().err
    assert "not those of square images" in errors
    assert errors.count("\n") == 1


def test_bad_usage_is_one_line_and_exits_with_2(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], [str(network)], [str(network), "a.png", "--limit", "0"]):
        with pytest.raises(SystemExit) as exit_:
            predict.main(arguments)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["absent.npz", "picture.png"])
def test_what_is_no_checkpoint_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Image.fromarray(hook(28, 28)).save(tmp_path / "picture.png")
    assert run(tmp_path / name, tmp_path / "picture.png") == 1
    errors = capsys.readouterr().err
    assert name in errors
    assert errors.count("\n") == 1


def test_without_matplotlib_it_classifies_and_says_what_draws(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = network.with_name("picture.png")
    Image.fromarray(hook(200, 300)).save(picture)
    assert run(network, picture) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{picture}: ")
    assert "pip install 'fnnet[scripts]'" in shown.err
