"""scripts/draw.py: what the page computes, and its server as any program on this machine meets it.

`test_draw_browser.py` has the page itself, in a browser.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.embedded import load_embedded
from fnnet_scripts.page import api, learning, line, pages, server, thinking
from fnnet_scripts.page.equations import FORMULAS, equation, place_of
from fnnet_scripts.page.strokes import image_of
from fnnet_scripts.skeletons import strokes_of

import fnnet
from fnnet.pictures.forms import FORMS, Form
from tests.scripts.drawn_digits import strokes_of_class
from tests.scripts.shared import NETWORK, environment, load, path_of

MNIST = FORMS["mnist"]
PEN = 0.06  # the page's own
FULL = os.environ.get("FNNET_DATA")
with_mnist = pytest.mark.skipif(FULL is None, reason="FNNET_DATA names no folder of MNIST's files")

draw, measure = load("draw"), load("page")


@pytest.fixture(scope="module")
def known() -> thinking.Network:
    return thinking.embedded(NETWORK)


def read(network: thinking.Network, strokes: Any, form: Form = MNIST) -> int:
    image = image_of(strokes, PEN, form)
    return int(fnnet.predict(network.params, fnnet.as_inputs(image[None]))[0])


# ---- strokes


def test_ink_fills_mnists_box_with_its_centre_of_mass_in_the_middle() -> None:
    image = image_of(strokes_of_class(3), PEN, MNIST).astype(float)
    rows, columns = np.nonzero(image > 40)
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
    for axis in (0, 1):
        centre = image.sum(axis=1 - axis) @ np.arange(28) / image.sum()
        assert abs(centre - 14) < 0.05  # where MNIST's own lie


@pytest.mark.parametrize("k", range(10))
def test_a_digit_is_read_wherever_and_however_large_it_is_drawn(
    known: thinking.Network, k: int
) -> None:
    strokes = strokes_of_class(k)
    for scale, x, y in ((1, 0, 0), (0.15, 0.02, 0.03), (0.2, 0.79, 0.75), (1.3, -0.15, -0.15)):
        moved = [stroke * np.float32(scale) + np.array([x, y], np.float32) for stroke in strokes]
        assert read(known, moved) == k


def test_small_and_large_are_the_same_image_but_for_the_pen() -> None:
    strokes = strokes_of_class(5)
    pair = [image_of([s * np.float32(k) for s in strokes], PEN * k, MNIST) for k in (1, 0.5)]
    assert np.abs(pair[0].astype(int) - pair[1]).max() <= 2


def test_dots_and_slips_of_the_pen_stay_small() -> None:
    dot = image_of([np.full((1, 2), 0.9, np.float32)], PEN, MNIST)
    slip = image_of([np.array([[0.1, 0.1], [0.105, 0.1]], np.float32)], PEN, MNIST)
    for image in (dot, slip):
        assert 0 < np.count_nonzero(image) < 60
        assert image[12:16, 12:16].max() == 255
    assert not image_of([], PEN, MNIST).any()


def test_drawing_on_an_image_adds_ink_where_it_is_drawn() -> None:
    base = load_embedded(NETWORK).examples.x[0].astype(np.uint8)
    line = [np.array([[0, 0.02], [1, 0.02]], np.float32)]
    image = image_of(line, PEN, MNIST, base)
    assert (image[0] > 100).all()
    np.testing.assert_array_equal(image[5:], base[5:])


def test_a_path_is_drawn_alike_however_many_points_it_has() -> None:
    way = np.linspace(0, 1, 4000, dtype=np.float32)
    fine = np.stack([0.2 + 0.6 * way, 0.5 + 0.3 * np.sin(6 * way)], axis=1)
    pair = [image_of([points], PEN, MNIST).astype(int) for points in (fine, fine[::31])]
    assert np.abs(pair[0] - pair[1]).max() <= 12


def test_a_form_that_is_stretched_fills_its_box_both_ways() -> None:
    image = image_of(
        [np.array([[0.4, 0.1], [0.45, 0.9], [0.5, 0.1]], np.float32)], PEN, FORMS["digits"]
    )
    rows, columns = np.nonzero(image > 30)
    assert np.ptp(rows) + 1 == 8
    assert np.ptp(columns) + 1 >= 5


@with_mnist
def test_replayed_digits_are_read_as_what_they_are(known: thinking.Network) -> None:
    test = fnnet.load_mnist(FULL, download=False).test[:200]
    right = [
        read(known, strokes_of(np.asarray(x))) == y for x, y in zip(test.x, test.y, strict=True)
    ]
    assert sum(right) >= 196


# ---- the network that comes along


def test_the_embedded_network_is_small_and_reads_its_examples() -> None:
    network = load_embedded(NETWORK)
    assert NETWORK.stat().st_size <= 500_000
    assert network.classes == tuple("0123456789")
    examples = network.examples
    np.testing.assert_array_equal(np.bincount(examples.y.astype(int)), np.full(10, 2))
    assert fnnet.evaluate(network.params, examples).accuracy == 1


@with_mnist
def test_the_embedded_network_is_as_good_as_it_says() -> None:
    network = load_embedded(NETWORK)
    measured = fnnet.evaluate(network.params, fnnet.load_mnist(FULL, download=False).test).accuracy
    assert measured == pytest.approx(network.accuracy, abs=2e-4)
    assert measured > 0.994


@pytest.mark.parametrize("content", [b"", b"no archive", "an array", "other members"])
def test_another_file_is_no_embedded_network(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "network.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with open(path, "wb") as file:
            (np.save if content == "an array" else np.savez)(file, np.zeros(3))
    with pytest.raises(ValueError, match="is no network that embed_network"):
        load_embedded(path)


def test_stored_weights_are_off_by_half_a_step_at_most() -> None:
    w = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    w[:, 3] = 0
    stored, scale = load("embed_network").in_bytes(w)
    assert stored.dtype == np.int8
    assert (np.abs(stored * scale - w) <= np.abs(w).max(axis=0) / 254 + 1e-7).all()


# ---- what is shown of a network


def test_hidden_units_are_those_of_the_equations(known: thinking.Network) -> None:
    x = thinking.inputs(image_of(strokes_of_class(4), PEN, MNIST))
    first, second, last = known.params.layers
    h1 = np.maximum(x @ first.w + first.b, 0)
    h2 = np.maximum(h1 @ second.w + second.b, 0)
    shown = thinking.hidden(known.params, x)
    np.testing.assert_allclose(shown[0], h1, atol=1e-5)
    np.testing.assert_allclose(shown[1], h2, atol=1e-5)
    np.testing.assert_allclose(fnnet.forward(known.params, x), h2 @ last.w + last.b, atol=1e-4)


def test_a_lesson_is_one_gradient_and_one_step(known: thinking.Network) -> None:
    image = image_of(strokes_of_class(4), PEN, MNIST)
    state = fnnet.rmsprop_init(known.params)
    lesson = thinking.teach(state, image, 9)
    x = fnnet.as_inputs(image[None])
    expected = fnnet.rmsprop_update(state, fnnet.grads(known.params, x, [9]))
    assert fnnet.tree_equal(lesson.after.params, expected.params)
    told = thinking.report(lesson, known)
    assert told["after"] > told["before"]
    assert told["loss_after"] < told["loss_before"]


@pytest.mark.parametrize("hidden", [(), (5,), (6, 5)])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize("taught", [False, True])
def test_every_equation_has_values(hidden: tuple[int, ...], activation: str, taught: bool) -> None:
    params = fnnet.init_params(0, (784, *hidden, 10), activation=activation)
    image = image_of(strokes_of_class(7), PEN, MNIST)
    lesson = thinking.teach(fnnet.rmsprop_init(params), image, 2) if taught else None
    place = place_of(params, tuple("0123456789"), image, 2)
    for number in FORMULAS:
        found = equation(number, place, lesson)
        assert found["values"]
        assert "nan" not in found["values"]


def test_values_in_an_equation_are_right(known: thinking.Network) -> None:
    image = image_of(strokes_of_class(7), PEN, MNIST)
    place = place_of(known.params, known.classes, image, 2)
    loss = fnnet.loss(known.params, thinking.inputs(image), [2])
    assert float(equation(4, place, None)["values"].rsplit("= ")[-1]) == pytest.approx(
        loss, rel=0.01
    )
    text = equation(2, place, None)["values"].rsplit("= ")[-1].replace("−", "-")
    z = fnnet.forward(known.params, thinking.inputs(image))[0, 2]
    assert float(text) == pytest.approx(float(z), rel=0.01)


def test_checkpoints_say_what_they_know(tmp_path: Path) -> None:
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 8, 10)))
    path = tmp_path / "run.npz"
    fnnet.save_checkpoint(path, fnnet.Checkpoint(state, np.random.default_rng(0)))
    network = thinking.from_checkpoint(path, pages.Shelf())
    assert "not known" in network.about
    assert network.form == FORMS["digits"]
    extra = {"dataset": "digits"}
    fnnet.save_checkpoint(path, fnnet.Checkpoint(state, np.random.default_rng(0), extra=extra))
    network = thinking.from_checkpoint(path, pages.Shelf())
    assert "% of 360 test images" in network.about
    assert network.examples is not None
    assert len(network.examples) == 20


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (fnnet.init_params(0, (5, 2)), "not those of square images"),
        (fnnet.init_params(0, (4, 2), output="identity"), "softmax"),
        (fnnet.init_params(0, (4, 3000, 2)), "more than 2,000 units"),
    ],
)
def test_other_networks_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], params: fnnet.Params, message: str
) -> None:
    path = tmp_path / "other.npz"
    checkpoint = fnnet.Checkpoint(fnnet.sgd_init(params), np.random.default_rng(0))
    fnnet.save_checkpoint(path, checkpoint)
    assert draw.main([str(path), "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# ---- training

SETTINGS = [
    learning.Settings(),
    learning.Settings(width=8, depth=2, activation="tanh", optimizer="adam", dropout=0.25, seed=7),
    learning.Settings(depth=0, optimizer="sgd", rate=0.5, batch=1000, dropout=0.5),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_as_python_is_this_very_run_bit_for_bit(settings: learning.Settings) -> None:
    last = None
    for progress in learning.run(settings, fnnet.load_digits()):
        if progress.metrics is not None and progress.epoch == 2:
            last = progress
            break
    assert last is not None
    assert last.metrics is not None
    code = learning.as_python(settings, 2, pages.Shelf().expression("digits"))
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 20
    namespace: dict[str, Any] = {"print": lambda *values: None}
    exec(code, namespace)
    record = namespace["record"]
    assert fnnet.tree_equal(record.state.params, last.state.params)
    same = replace(record.metrics, seconds=last.metrics.seconds, train_r2=0, test_r2=0)
    assert same == replace(last.metrics, train_r2=0, test_r2=0)


def test_an_evaluation_in_pieces_is_that_of_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "PIECE", 100)
    data = fnnet.load_digits()
    shares = []
    for progress in learning.run(learning.Settings(), data):
        shares.append(progress.measured)
        if progress.metrics is not None and progress.epoch == 1:
            break
    assert progress.metrics is not None
    params = progress.state.params
    train, test = fnnet.evaluate(params, data.train), fnnet.evaluate(params, data.test)
    found = progress.metrics
    assert (found.train_loss, found.test_loss) == pytest.approx((train.loss, test.loss), rel=1e-6)
    assert (found.train_accuracy, found.test_accuracy) == pytest.approx(
        (train.accuracy, test.accuracy), rel=1e-12
    )
    pieces = [share for share in shares if share]
    assert len(pieces) == 2 * (len(data.train) // 100 + 1 + len(data.test) // 100)
    assert pieces[:18] == sorted(pieces[:18])


def test_no_question_evaluates_all_images_of_a_large_data_set(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "PIECE", 100)
    monkeypatch.setattr(api, "MOMENT", 0.0)
    sizes: list[int] = []
    whole = fnnet.evaluate

    def counted(params: fnnet.Params, split: fnnet.Split) -> fnnet.Evaluation:
        sizes.append(len(split))
        return whole(params, split)

    monkeypatch.setattr(fnnet, "evaluate", counted)
    monkeypatch.setattr(pages.Shelf, "ready", lambda self, seconds: True)
    client = Client(running)
    settings = client("choices")["settings"]
    answer = client("begin", settings=settings)
    asked = 0
    while not answer["history"]:
        answer = client("advance", known=0)
        asked += 1
        assert answer["share"] == 0  # before it is measured, nothing is trained
        assert len(sizes) <= asked + 1
    client("advance", known=1)
    sizes.clear()
    about = client("use", source="run")["network"]["about"]
    assert "of the first 100 of 360 test images" in about
    assert sizes == [100]


def test_a_run_begins_when_data_sets_are_loaded(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOMENT", 0.01)
    held = threading.Event()
    original = pages.Shelf.__len__
    monkeypatch.setattr(pages.Shelf, "__len__", lambda self: held.wait(10) and original(self))
    client = Client(running)
    assert client("choices") == {}
    status, said = client.send("begin", settings=asdict(learning.Settings()))
    assert (status, b"being loaded" in said) == (400, True)
    assert client.draw(3)["logits"]  # meanwhile
    held.set()
    assert client.choices()["settings"] == asdict(learning.Settings())


def test_two_runs_of_the_same_settings_begin_alike() -> None:
    pair = [next(learning.run(learning.Settings(seed=3), fnnet.load_digits())) for _ in "ab"]
    assert fnnet.tree_equal(pair[0].state.params, pair[1].state.params)
    other = next(learning.run(learning.Settings(seed=4), fnnet.load_digits()))
    assert not fnnet.tree_equal(pair[0].state.params, other.state.params)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "../etc"),
        ("width", 0),
        ("width", 10**9),
        ("width", "64"),
        ("depth", True),
        ("rate", -1),
        ("rate", 10**400),
        ("rate", "x"),
        ("batch", 0),
        ("dropout", 1),
        ("seed", -1),
        ("activation", ["relu"]),
        ("optimizer", None),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        learning.settings_of({**asdict(learning.Settings()), name: value}, pages.Shelf())


def test_a_folder_of_pictures_by_class_is_a_data_set(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    pytest.importorskip("scipy")
    for k in (1, 7):
        folder = tmp_path / f"digit {k}"
        folder.mkdir()
        for i in range(5):
            ink = np.kron(image_of(strokes_of_class(k), PEN + 0.01 * i, MNIST), np.ones((6, 6)))
            image_module.fromarray((255 - ink).astype(np.uint8)).save(folder / f"{i}.png")
        (folder / "notes.txt").write_text("no picture")
    shelf = pages.Shelf(own=str(tmp_path))
    data = shelf["own"]
    assert data.classes == ("digit 1", "digit 7")
    assert (len(data.train), len(data.test)) == (8, 2)
    settings = learning.Settings(data="own", width=4, batch=2)
    steps = learning.run(settings, data)
    last = next(p for p in steps if p.epoch == 1)
    namespace: dict[str, Any] = {"print": lambda *values: None}
    exec(learning.as_python(settings, 1, shelf.expression("own")), namespace)
    assert fnnet.tree_equal(namespace["record"].state.params, last.state.params)


@pytest.mark.parametrize("classes", [(), ("one",), ("one", "two")])
def test_a_folder_without_pictures_by_class_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...]
) -> None:
    pytest.importorskip("PIL")
    for name in classes:
        (tmp_path / name).mkdir()
    assert draw.main(["--pictures", str(tmp_path), "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert "must have" in error
    assert error.count("\n") == 1


# ---- the server


CONNECTIONS: list[HTTPConnection] = []  # that a test has opened
LINES: list[Any] = []


def connected(to: server.Server) -> HTTPConnection:
    CONNECTIONS.append(HTTPConnection("127.0.0.1", to.server_port, timeout=60))
    return CONNECTIONS[-1]


@pytest.fixture
def running() -> Iterator[server.Server]:
    with server.Server(pages.Pages(thinking.embedded(NETWORK)), pages.Shelf()) as each:
        thread = threading.Thread(target=each.serve_forever, args=(0.05,))
        thread.start()
        yield each
        for opened in (CONNECTIONS, LINES):
            while opened:
                opened.pop().close()
        each.shutdown()
        thread.join()


class Client:
    """A connection that asks as the page does."""

    def __init__(self, to: server.Server | str) -> None:
        self.connection = HTTPConnection(to, timeout=60) if isinstance(to, str) else connected(to)
        self.page: str | None = None
        self.network = self("open")["network"]

    def send(self, name: str, **body: object) -> tuple[int, bytes]:
        content = json.dumps({"page": self.page, **body}).encode()
        return self.raw("POST", f"/api/{name}", content)

    def raw(
        self, method: str, path: str, content: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        named = {"Content-Type": "application/json"} if content is not None else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, content, named)
        response = self.connection.getresponse()
        return response.status, response.read()

    def __call__(self, name: str, **body: object) -> Any:
        status, content = self.send(name, **body)
        assert status == 200, content
        answer = json.loads(content)
        self.page = answer.get("page", self.page)
        return answer

    def choices(self) -> Any:
        """Once all data sets are loaded."""
        while not (found := self("choices")):
            pass
        return found

    def draw(self, k: int) -> Any:
        strokes = [stroke.round(4).tolist() for stroke in strokes_of_class(k)]
        return self("see", strokes=strokes, width=PEN, base=None)


def test_ten_strokes_are_read(running: server.Server, known: thinking.Network) -> None:
    client = Client(running)
    for k in range(10):
        answer = client.draw(k)
        assert int(np.argmax(answer["logits"])) == k
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
        hidden = [np.frombuffer(base64.b64decode(h), "<f4") for h in answer["hidden"]]
        assert [len(h) for h in hidden] == client.network["sizes"][1:-1]
        w, b = known.params.layers[-1].w, known.params.layers[-1].b
        np.testing.assert_allclose(hidden[-1] @ w + b, answer["logits"], atol=1e-3)
        assert len(base64.b64decode(answer["image"])) == 784


def test_each_page_has_its_own_network(running: server.Server) -> None:
    one, other = Client(running), Client(running)
    before = one.draw(4)
    other.draw(4)
    for _ in range(5):
        answer = one("teach", label=9)
    assert int(np.argmax(answer["answer"]["logits"])) == 9
    assert answer["lesson"]["steps"] == 5
    assert other.draw(4) == before
    assert one("reset")["answer"] == before


def test_a_run_is_advanced_rewound_and_drawn_for(running: server.Server) -> None:
    client = Client(running)
    settings = client.choices()["settings"] | {"width": 16}
    first = client("begin", settings=settings)
    rows = first["history"]
    while len(rows) < 4:
        rows += client("advance", known=len(rows))["history"]
    assert rows[3][4] > rows[0][4]
    again = client("begin", settings=settings)
    assert again["weights"] == first["weights"]
    assert again["history"] == rows[:1]
    client("advance", known=1)
    network = client("use", source="run")["network"]
    assert network["sizes"] == [64, 16, 10]
    assert len(client.draw(3)["logits"]) == 10
    assert "batch_size=32" in client("code", settings=settings, epochs=3)["code"]
    assert client("use", source="first")["network"] == client.network


def test_a_run_that_diverges_ends_with_a_reason(running: server.Server) -> None:
    client = Client(running)
    settings = client.choices()["settings"] | {
        "optimizer": "sgd",
        "rate": 10.0,
        "activation": "identity",
    }
    client("begin", settings=settings)
    for _ in range(50):
        answer = client("advance", known=0)
        if "ended" in answer:
            break
    assert "epoch" in answer["ended"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("see", {}),
        ("see", {"strokes": [[[0, 0]]], "width": "wide"}),
        ("see", {"strokes": [[[0, 0]]], "width": 5}),
        ("see", {"strokes": "none", "width": 0.1}),
        ("see", {"strokes": [[]], "width": 0.1}),
        ("see", {"strokes": [[[0, 0], [1]]], "width": 0.1}),
        ("see", {"strokes": [[["a", "b"]]], "width": 0.1}),
        ("see", {"strokes": [[[1e39, 0]]], "width": 0.1}),
        ("see", {"strokes": [[["0.1", "0.2"]]], "width": 0.1}),
        ("see", {"strokes": [[[True, False]]], "width": 0.1}),
        ("see", {"strokes": [[[10**30, 0]]], "width": 0.1}),
        ("see", {"strokes": [[[0, 0]]] * 501, "width": 0.1}),
        ("see", {"strokes": [[[0, 0]] * 10_001], "width": 0.1}),
        ("see", {"strokes": [], "width": 0.1, "base": 20}),
        ("see", {"strokes": [], "width": 0.1, "base": -1}),
        ("unit", {"layer": 3, "unit": 0}),
        ("unit", {"layer": 0, "unit": 512}),
        ("unit", {"layer": "0", "unit": 0}),
        ("equation", {"number": 0}),
        ("equation", {"number": 13}),
        ("equation", {"number": 1, "label": 10}),
        ("teach", {"label": 3}),
        ("teach", {"label": 10}),
        ("advance", {"known": 0}),
        ("begin", {"settings": []}),
        ("begin", {"settings": {"data": "digits"}}),
        ("use", {"source": "run"}),
        ("use", {"source": "/etc/passwd"}),
    ],
)
def test_a_wrong_request_is_answered_with_400_and_a_line(
    running: server.Server, name: str, body: dict[str, object]
) -> None:
    client = Client(running)
    status, content = client.send(name, **body)
    assert status == 400
    assert content.count(b"\n") == 1
    assert len(content) < 700
    assert client.draw(3)["logits"]  # it goes on


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"page":NaN}', b"[" * 100_000, b'{"a":' * 20_000, b"1" * 5000],
)
def test_what_is_no_object_of_json_is_refused(running: server.Server, content: bytes) -> None:
    status, said = Client(running).raw("POST", "/api/see", content)
    assert status == 400
    assert said.count(b"\n") == 1


def test_requests_are_bounded_in_size_and_kind(running: server.Server) -> None:
    large = b"{" + b" " * server.LARGEST + b"}"
    assert Client(running).raw("POST", "/api/see", large)[0] == 400
    assert Client(running).raw("POST", "/api/see", b"{}", Content_Type="text/plain")[0] == 400
    assert Client(running).raw("GET", "/" + "a" * 70_000)[0] == 400
    assert Client(running).raw("PUT", "/")[0] == 405
    for length in ("-1", "1e3", "99999999999", "x"):
        said = exchange(
            running,
            f"POST /api/see HTTP/1.1\r\nHost: {host(running)}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n",
        )
        assert b" 400 " in said.splitlines()[0]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST /api/open", "Transfer-Encoding: chunked\r\n"),
        ("POST /api/open", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"),
        ("POST /api/open", "Content-Length: 2\r\nContent-Length: 3\r\n"),
        ("GET /", "Content-Length: 2\r\n"),
        ("GET /line", "Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_request_has_one_length_and_what_has_no_body_none(
    running: server.Server, method: str, headers: str
) -> None:
    head = f"{method} HTTP/1.1\r\nHost: {host(running)}\r\nContent-Type: application/json\r\n"
    said = exchange(running, f"{head}{headers}\r\n{{}}\r\n")
    assert said.count(b"HTTP/1.1") == 1  # and the rest is taken for no other request
    assert b" 400 " in said.splitlines()[0]
    assert len(running.pages) == 0


def test_an_empty_connection_is_dropped_and_too_many_are_told(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IN_TIME", 0.5)
    running.room = threading.BoundedSemaphore(4)
    with ExitStack() as stack:
        many = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", running.server_port), timeout=10)
            )
            for _ in range(7)
        ]
        refused = [each.recv(4096) for each in many[4:]]
        assert all(b" 503 " in said and said.endswith(b"close pages\n") for said in refused)
        assert [each.recv(1) for each in many[:4]] == [b""] * 4
    assert Client(running).draw(3)["logits"]


def test_who_leaves_before_the_answer_is_no_fault(
    running: server.Server, capfd: pytest.CaptureFixture[str]
) -> None:
    text = f"GET /style.css HTTP/1.1\r\nHost: {host(running)}\r\n\r\n".encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", running.server_port)) as connection:
            linger = struct.pack("ii", 1, 0)  # the answer meets a connection that was reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(text * 50)
    assert Client(running).draw(3)["logits"]
    assert capfd.readouterr().err == ""


def host(to: server.Server) -> str:
    return f"127.0.0.1:{to.server_port}"


def exchange(to: server.Server, text: str) -> bytes:
    with socket.create_connection(("127.0.0.1", to.server_port), timeout=60) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "path", ["/server.py", "/../server.py", "/static/app.js", "/etc/passwd", "/%2e%2e/api.py"]
)
def test_no_file_but_its_own_is_served(running: server.Server, path: str) -> None:
    assert Client(running).raw("GET", path)[0] == 404


def test_its_own_files_come_with_strict_headers(running: server.Server) -> None:
    connection = connected(running)
    for path in server.FILES:
        connection.request("GET", path + "?seed=1")
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in content


READ = 4.5  # WCAG 2, AA: contrast of texts; lines and edges need 3
PAIRS = {
    **{(text, on): READ for text in ("ink", "soft") for on in ("paper", "page")},
    **{("on-blue", on): READ for on in ("blue", "orange", "ink")},
    **{("bar-text", on): READ for on in ("grey", "track")},
    **{(text, "paper"): READ for text in ("blue", "orange")},
    **{("edge", on): 3.0 for on in ("paper", "page")},
    ("kept", "paper"): 3.0,
}


def test_texts_and_edges_stand_out_in_light_and_dark(running: server.Server) -> None:
    def brightness(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        shares = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    schemes = re.findall(r":root \{(.*?)\}", running.files["style.css"].decode(), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): #([0-9a-f]+)", scheme))
        for (one, other), least in PAIRS.items():
            low, high = sorted(brightness(colours[name]) + 0.05 for name in (one, other))
            assert high / low >= least, (one, other)


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""])
def test_a_foreign_host_is_refused(running: server.Server, name: str) -> None:
    said = exchange(
        running, f"GET / HTTP/1.1\r\nHost: {name.format(port=running.server_port)}\r\n\r\n"
    )
    assert b" 403 " in said.splitlines()[0]
    assert b"<html" not in said


def test_a_foreign_origin_is_refused_and_the_pages_own_is_not(running: server.Server) -> None:
    for origin, status in (
        ("http://evil.example", 403),
        ("null", 403),
        (f"https://127.0.0.1:{running.server_port}", 403),
        (f"http://127.0.0.1:{running.server_port}", 200),
        (f"http://localhost:{running.server_port}", 200),
    ):
        assert Client(running).raw("POST", "/api/open", b"{}", Origin=origin)[0] == status


def test_it_listens_to_this_machine_alone(running: server.Server) -> None:
    assert running.socket.getsockname()[0] == "127.0.0.1"


def test_a_request_that_trickles_in_is_cut_off(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IN_TIME", 0.3)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", running.server_port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        ended = False
        while not ended and time.monotonic() - began < 60:
            time.sleep(0.05)
            try:
                connection.sendall(b"X")
                connection.settimeout(0.01)
                ended = connection.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                ended = True
    assert ended


# ---- the line on which one draws


def lined(to: server.Server) -> Any:
    LINES.append(measure.Line(to.address))
    return LINES[-1]


def question(client: Client, name: str, **body: object) -> bytes:
    return json.dumps({"page": client.page, "name": name, **body}).encode()


def test_the_line_answers_as_http_does(running: server.Server) -> None:
    client, each = Client(running), lined(running)
    assert each.head.startswith(b"HTTP/1.1 101 ")
    # As RFC 6455 has it for this key.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in each.head
    strokes = [stroke.round(4).tolist() for stroke in strokes_of_class(4)]
    for _ in range(3):
        each.send(question(client, "see", strokes=strokes, width=PEN, base=None))
        first, content = each.receive()
        assert (first, json.loads(content)) == (0x81, client.draw(4))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "object of JSON"),
        (b"{", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b'{"name":"see","page":"other"}', "load the page again"),
        (b'{"name":["see"]}', "no such request"),
        (b'{"page":NaN}', "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
    ],
)
def test_a_wrong_question_is_refused_and_the_line_goes_on(
    running: server.Server, content: bytes, said: str
) -> None:
    client, each = Client(running), lined(running)
    each.send(content)
    answer = json.loads(each.receive()[1])
    assert said in answer["refused"]
    assert "\n" not in answer["refused"]
    each.send(question(client, "see", strokes=[], width="wide", base=None))
    assert "width must be" in json.loads(each.receive()[1])["refused"]
    each.send(question(client, "reset"))
    assert json.loads(each.receive()[1]) == {}


def test_a_question_may_come_in_parts_and_with_pings_between(running: server.Server) -> None:
    client, each = Client(running), lined(running)
    content = question(client, "reset")
    each.send(content[:7], 0x01)
    each.send(b"are you there?", 0x89)
    each.send(b"", 0x8A)
    each.send(content[7:20], 0x00)
    each.send(content[20:], 0x80)
    assert each.receive() == (0x8A, b"are you there?")
    assert json.loads(each.receive()[1]) == {}


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(0x82, b"{}")], line.WRONG),  # not text
        ([(0x80, b"{}")], line.WRONG),  # goes on from nothing
        ([(0x01, b"{"), (0x81, b"}")], line.WRONG),  # begins anew before the end
        ([(0xC1, b"{}")], line.WRONG),  # an extension that was not agreed on
        ([(0x83, b"")], line.WRONG),  # of no kind
        ([(0x89, b" " * 126)], line.WRONG),  # a ping as long as a message
        ([(0x09, b"")], line.WRONG),  # in parts
        ([(0x81, b" " * (server.LARGEST + 1))], line.TOO_LONG),
        ([(0x01, b" " * server.LARGEST), (0x80, b" ")], line.TOO_LONG),
        ([(0x88, b"")], line.NORMAL),
    ],
)
def test_what_is_no_message_ends_the_line(
    running: server.Server, frames: list[tuple[int, bytes]], code: int
) -> None:
    each = lined(running)
    for first, content in frames:
        with suppress(OSError):  # it ends before all is sent
            each.send(content, first)
    with suppress(ConnectionResetError):
        assert each.receive() == (0x88, code.to_bytes(2, "big"))
        assert each.incoming.read() == b""
    assert Client(running).draw(1)["logits"]


def test_a_message_without_a_mask_or_of_an_absurd_length_ends_the_line(
    running: server.Server,
) -> None:
    for content, code in (
        (b"\x81\x02{}", line.WRONG),
        (b"\x81\xff" + b"\xff" * 8, line.TOO_LONG),
        (b"\x81\xfe\x01", line.NORMAL),  # cut off
    ):
        each = lined(running)
        each.connection.sendall(content)
        each.connection.shutdown(socket.SHUT_WR)
        assert each.receive() == (0x88, code.to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Host", "evil.example", 403),
        ("Origin", "http://evil.example", 403),
        ("Origin", None, 400),
        ("Upgrade", None, 400),
        ("Upgrade", "h2c", 400),
        ("Sec-WebSocket-Version", "8", 400),
        ("Sec-WebSocket-Key", "short", 400),
        ("Sec-WebSocket-Key", "é" * 24, 400),
        ("Sec-WebSocket-Key", None, 400),
    ],
)
def test_only_the_page_itself_opens_a_line(
    running: server.Server, name: str, value: str | None, status: int
) -> None:
    headers = {
        "Host": host(running),
        "Origin": f"http://{host(running)}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": measure.KEY,
        name: value,
    }
    text = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if v is not None)
    said = exchange(running, f"GET /line HTTP/1.1\r\n{text}\r\n")
    assert f" {status} ".encode() in said.splitlines()[0]
    assert said.endswith(b"\n")


def test_a_question_that_trickles_in_ends_the_line(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IN_TIME", 0.3)
    each = lined(running)
    each.connection.sendall(b"\x81\xfe\x01\x00fnne")
    each.connection.settimeout(10)
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - began < 8:
            each.connection.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - began < 4


def test_a_page_left_alone_gives_its_memory_back(running: server.Server) -> None:
    client = Client(running)
    client.draw(2)
    running.pages.idle = 0.0
    deadline = time.monotonic() + 60
    while len(running.pages) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(running.pages) == 0
    status, said = client.send("reset")
    assert status == 410
    assert b"load the page again" in said


def test_a_closed_page_is_forgotten_and_pages_are_bounded(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(running)
    client("close")
    assert len(running.pages) == 0
    monkeypatch.setattr(pages, "MOST_PAGES", 1)
    client("open")
    assert client.send("open")[0] == 503


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_requests_leave_memory_where_it_was() -> None:
    """The server in a process of its own, which ten pages open and close meanwhile.

    The system gives memory in steps, so that a round may seem to need some; what is kept of each
    request would be seen in all of them.
    """
    drawings = [strokes_of_class(k) for k in range(10)]

    def grown() -> float:
        before, after = measure.held(process, 500, drawings)
        return float(after - before)

    with measure.served() as process:
        assert any(grown() < 500_000 for _ in range(6))  # less than 1 kB of each request


# ---- the command


def test_ctrl_c_ends_it_with_one_line() -> None:
    # What runs in the background of a shell ignores Ctrl-C, and so would its children.
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL)"
    command = [sys.executable, "-c", f"{heed}; os.execv(sys.argv[1], sys.argv[1:])"]
    command += [sys.executable, str(path_of("draw")), "--no-browser"]
    process = subprocess.Popen(
        command, env=environment("draw"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    address = line.split()[0].removeprefix("http://").rstrip("/")
    connection = HTTPConnection(address, timeout=60)
    connection.request("GET", "/")
    assert b"<canvas" in connection.getresponse().read()  # and stays open
    client = Client(address)
    settings = client.choices()["settings"] | {"width": 512, "depth": 4, "batch": 1024}
    client("begin", settings=settings)
    each = measure.Line(f"http://{address}/")
    each.send(question(client, "advance", known=0))  # and is in the midst of a training
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    for opened in (connection, client.connection, each):
        opened.close()
    assert process.returncode == 130
    assert (out, err.count("\n")) == ("", 1)


def test_a_free_port_is_taken_where_the_default_is_not_free(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with draw.start(draw.parse([])) as first, draw.start(draw.parse([])) as second:
        assert first.server_port != second.server_port
        assert draw.main(["--port", str(second.server_port)]) == 2
    error = capsys.readouterr().err
    assert "--port" in error
    assert error.count("\n") == 1


def test_the_browser_is_opened_unless_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(draw.webbrowser, "open", opened.append)
    monkeypatch.setattr(server.Server, "serve_forever", lambda self: None)
    assert draw.main(["--no-browser"]) == 0
    assert opened == []
    assert draw.main([]) == 0
    assert len(opened) == 1
    assert opened[0].startswith("http://127.0.0.1:")
