"""scripts/predict.py as its user meets it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fnnet

Image = pytest.importorskip("PIL.Image")
SCRIPT = Path(__file__).parents[1] / "scripts" / "predict.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("predict_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    ],
    ids=["inverted", "colour", "palette", "twice the size"],
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


def test_light_ink_of_the_right_size_is_taken_as_it_is() -> None:
    image = np.zeros((28, 28))
    image[3:9, 20:25] = 200
    np.testing.assert_array_equal(predict.prepare(image, 28), image)


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
    assert lines[2].startswith(f"{network.with_name('images.gz')}[1]")
    with Image.open(network.with_name("figure.png")) as figure:
        assert min(figure.size) > 50


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.png", None, "absent.png"),
        ("text.png", b"hello", "text.png: neither a picture nor an IDX file"),
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


def test_a_network_of_another_input_and_bad_usage_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = fnnet.init_params(0, (5, 2))
    path = tmp_path / "checkpoint.npz"
    rng = np.random.default_rng(0)
    fnnet.save_checkpoint(path, fnnet.Checkpoint(fnnet.rmsprop_init(params), rng))
    assert run(path, "any.png") == 1
    assert "the network takes 5 numbers, not an image" in capsys.readouterr().err
    for arguments in ([], [str(path)], [str(path), "a.png", "--limit", "0"]):
        with pytest.raises(SystemExit) as exit_:
            predict.main(arguments)
        assert exit_.value.code == 2
