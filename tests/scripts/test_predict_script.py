"""scripts/predict.py as its user meets it."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fnnet_scripts.embedded import load_embedded
from fnnet_scripts.options import installing

import fnnet
from tests.scripts.shared import NETWORK

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy")
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
    Image.fromarray(hook(200, 300)[:, ::-1]).save(picture)
    fnnet.write_idx(network.with_name("images.gz"), np.stack([image, image[:, ::-1]]))
    assert run(network, picture, network.with_name("images.gz")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines[1:3]] == ["1", "0"]
    assert all(re.search(r": \d \d+\.\d%, then \d \d+\.\d%$", line) for line in lines[:3])
    assert lines[2].startswith(f"{network.with_name('images.gz')}[1]")
    with Image.open(network.with_name("figure.png")) as figure:
        assert min(figure.size) > 50


@pytest.mark.parametrize(("output", "first"), [("sigmoid", 1 / (1 + np.exp(-2))), ("identity", 2)])
def test_a_network_of_another_output_says_what_that_predicts(
    network: Path, output: str, first: float, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = fnnet.Layer(np.zeros((784, 2)), np.array([-1.0, 2.0]))
    state = fnnet.rmsprop_init(fnnet.Params((layer,), output=output))
    fnnet.save_checkpoint(network, fnnet.Checkpoint(state, np.random.default_rng(0)))
    picture = network.with_name("a.png")
    Image.fromarray(hook(100, 100)).save(picture)
    assert run(network, picture) == 0
    assert f"a.png: 1 {first:.1%}, then 0 " in capsys.readouterr().out
    assert network.with_name("figure.png").exists() == (output == "sigmoid")


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
    for path, message in ((blank, "blank.png: refused: blank"), (cut, "cut.png")):
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


def test_without_a_checkpoint_the_network_that_comes_along_reads_digits_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = load_embedded(NETWORK).examples
    for i, image in enumerate(np.asarray(examples.x)):
        page = np.pad(255 - np.kron(image, np.ones((8, 8), np.uint8)), 40, constant_values=255)
        Image.fromarray(page).save(tmp_path / f"{i}.png")
    pictures = [str(tmp_path / f"{i}.png") for i in range(len(examples))]
    out = str(tmp_path / "figure.png")
    assert predict.main([*pictures, "--out", out]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert "comes with the scripts" in first
    assert re.search(r"MNIST .*: it reads 99\.\d\d % of 10,000 test images$", first)
    read = [int(line.split(": ")[1].split()[0]) for line in lines[: len(examples)]]
    np.testing.assert_array_equal(read, examples.y)
    assert predict.main([pictures[3], "--out", out]) == 0  # a single picture is no checkpoint
    assert f"{pictures[3]}: 3 " in capsys.readouterr().out


def test_a_checkpoint_is_told_by_its_start_and_options_may_stand_behind_it(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network.rename(network.with_name("kept"))
    images = network.with_name("images")
    fnnet.write_idx(images, np.full((30, 28, 28), 9, np.uint8))
    out = ["--out", str(network.with_name("figure.png"))]
    assert predict.main([str(network.with_name("kept")), "--limit", "3", *out, str(images)]) == 0
    shown = capsys.readouterr().out
    assert "comes with the scripts" not in shown
    assert f"{images}: 3 of 30 images shown" in shown


@pytest.mark.parametrize("name", ["absent.npz", "picture.npz"])
def test_what_is_no_checkpoint_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Image.fromarray(hook(28, 28)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").with_suffix(".npz").write_bytes(b"no zip archive")
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
    assert installing("matplotlib") in shown.err


def test_one_bad_file_among_many_is_one_line_and_the_others_are_classified(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [network.with_name(name) for name in ("a.png", "broken.png", "b.png")]
    for path in paths:
        Image.fromarray(hook(200, 300)).save(path)
    paths[1].write_bytes(b"")
    assert run(network, *paths) == 1
    shown = capsys.readouterr()
    assert [line.split(": ")[0] for line in shown.out.splitlines()[:2]] == [
        str(paths[0]),
        str(paths[2]),
    ]
    assert shown.err.count("\n") == 1
    assert "broken.png: neither a whole picture" in shown.err
    assert network.with_name("figure.png").exists()


def pair() -> npt.NDArray[np.uint8]:
    """Two hooks, the right one mirrored."""
    return np.hstack([hook(200, 300), hook(200, 300)[:, ::-1]])


def test_several_objects_are_counted_and_with_all_classified_from_left_to_right(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network.with_name("pair.png")
    Image.fromarray(pair()).save(path)
    assert run(network, path) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.rstrip().endswith("several objects: 2")
    assert "--all" in shown.err
    assert run(network, path, "--all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == [f"{path}[0]", f"{path}[1]"]
    first, second = (re.findall(r"(\d) ([\d.]+)%", line) for line in lines[:2])
    assert [name for name, _ in first] == [name for name, _ in second][::-1]


def test_show_draws_the_steps_beside_the_figure(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, picture in enumerate((hook(200, 300), np.full((50, 50), 255, np.uint8))):
        Image.fromarray(picture).save(network.with_name(f"{i}.png"))
    assert run(network, network.with_name("0.png"), network.with_name("1.png"), "--show") == 1
    steps = network.with_name("figure-steps.png")
    assert f"drawn in {steps}" in capsys.readouterr().out
    with Image.open(steps) as figure:
        assert min(figure.size) > 300


def test_it_says_how_many_images_of_a_file_were_shown(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network.with_name("images")
    fnnet.write_idx(path, np.full((30, 28, 28), 9, np.uint8))
    assert run(network, path) == 0
    out = capsys.readouterr().out
    assert f"{path}: 12 of 30 images shown" in out
    assert len(re.findall(r"then", out)) == 12
    assert run(network, path, "--limit", "30") == 0
    assert "of 30" not in capsys.readouterr().out


def test_run_length_tga_is_a_picture_and_no_idx_file(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network.with_name("a.tga")
    Image.fromarray(hook(200, 300)).convert("RGB").save(path, compression="tga_rle")
    assert path.read_bytes()[:3] == b"\0\0\x0a"
    assert run(network, path) == 0
    Image.fromarray(hook(200, 300)).save(path, compression="tga_rle")
    assert path.read_bytes()[:3] == b"\0\0\x0b"  # IDX's code of int16
    assert run(network, path) == 0


def test_names_and_messages_cannot_steer_the_terminal(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[31m\r\n.png"
    Image.fromarray(hook(200, 300)).save(network.with_name("plain.png"))
    try:
        os.rename(network.with_name("plain.png"), network.with_name(name))
    except OSError:
        pytest.skip("this file system has no such names")
    network.with_name(f"b{name}").write_bytes(b"no picture")
    assert run(network, network.with_name(name), network.with_name(f"b{name}")) == 1
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert "\x1b" not in text
        assert "\r" not in text
        assert r"a\x1b[31m\r\n.png: " in text
    assert shown.err.count("\n") == 1


def test_long_messages_are_cut() -> None:
    assert len(predict.printable("x" * 60_000)) < 500
    assert predict.told(Path("a"), ValueError("a: b\n c")) == "a: b c"


@pytest.mark.parametrize("where", ["extra", "run.json"])
def test_the_data_set_of_the_network_gives_form_and_names(
    network: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """A network of Fashion-MNIST says class 0 where the first and the last row have ink."""
    w, b = np.zeros((784, 10), np.float32), np.full(10, -50, np.float32)
    w[:28, 0] = w[-28:, 0] = 10
    b[:2] = -50, 0
    state = fnnet.rmsprop_init(fnnet.Params((fnnet.Layer(w, b),)))
    extra = {"dataset": "fashion-mnist", "classes": ["shirt", *"123456789"]}
    checkpoint = fnnet.Checkpoint(
        state, np.random.default_rng(0), extra=extra if where == "extra" else None
    )
    fnnet.save_checkpoint(network, checkpoint)
    if where == "run.json":
        network.with_name("run.json").write_text('{"dataset": "fashion-mnist"}')
    page = np.full((400, 400), 250, np.uint8)
    page[60:340, 140:260] = 60
    Image.fromarray(page).save(network.with_name("a.png"))
    assert run(network, network.with_name("a.png")) == 0
    expected = "shirt" if where == "extra" else "T-shirt/top"
    assert f"a.png: {expected} " in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"dataset": ["mnist"]}', "{}"])
def test_a_hostile_run_json_is_passed_over(network: Path, content: str) -> None:
    network.with_name("run.json").write_text(content)
    Image.fromarray(hook(200, 300)).save(network.with_name("a.png"))
    assert run(network, network.with_name("a.png")) == 0


def test_a_tilde_is_the_users_folder(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(network.parent))
    monkeypatch.setenv("USERPROFILE", str(network.parent))
    Image.fromarray(hook(200, 300)).save(network.with_name("a.png"))
    assert predict.main([f"~/{network.name}", "~/a.png", "--out", "~/f.png"]) == 0
    assert network.with_name("f.png").exists()
