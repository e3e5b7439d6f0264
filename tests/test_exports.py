"""fnnet.exports: the same numbers in other programs, and from other libraries."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import exports
from fnnet.activations import ACTIVATIONS
from fnnet.outputs import OUTPUTS

FULL = os.environ.get("FNNET_DATA")
CC = which("cc") or which("gcc") or which("clang")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
X = np.random.default_rng(0).standard_normal((7, 12)).astype(np.float32)
X[:, ::3] = 0
READER, WAYS_IN = re.findall("```python\n(.*?)```", exports.__doc__ or "", re.DOTALL)
OWN = fnnet.Activation("mine", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))

compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler")
activations = pytest.mark.parametrize("activation", ACTIVATIONS)
outputs = pytest.mark.parametrize("output", OUTPUTS)


def network(
    sizes: tuple[int, ...] = (12, 9, 8, 4), dtype: Any = np.float32, **kinds: Any
) -> fnnet.Params:
    """Random parameters whose biases are not zero."""
    rng = np.random.default_rng(1)
    params = fnnet.init_params(rng, sizes, dtype, **kinds)
    return fnnet.tree_map(
        lambda leaf: leaf + (0.1 * rng.standard_normal(leaf.shape)).astype(dtype), params
    )


@pytest.fixture(scope="module")
def digits() -> fnnet.Params:
    """A network that knows the embedded digits."""
    state, data = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)), 3e-3), fnnet.load_digits()
    *_, last = fnnet.train(state, data.train, rng=0, epochs=5)
    return last.state.params


# --- ONNX


def session(params: fnnet.Params, **options: Any) -> Any:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(exports.as_onnx(params, **options).SerializeToString())


@activations
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnxruntime_gives_the_logits_of_every_activation(activation: str, dtype: Any) -> None:
    params = network(dtype=dtype, activation=activation)
    for x in (X.astype(dtype), X[:1].astype(dtype), 20 * X.astype(dtype)):
        logits, p = session(params).run(["logits", "probabilities"], {"x": x})
        assert logits.dtype == dtype
        tight = 1e-12 if dtype == np.float64 and activation != "gelu" else 1e-5
        np.testing.assert_allclose(logits, fnnet.forward(params, x), rtol=tight, atol=tight)
        np.testing.assert_allclose(p, fnnet.predict_proba(params, x), rtol=tight, atol=tight)


@outputs
def test_onnxruntime_gives_the_probabilities_of_every_output_that_has_any(output: str) -> None:
    params = network(output=output)
    run = session(params)
    names = [each.name for each in run.get_outputs()]
    assert names == ["logits", "probabilities"][: 1 if output == "identity" else 2]
    result = run.run(None, {"x": X})[-1]
    np.testing.assert_allclose(result, fnnet.predict_proba(params, X), rtol=1e-5, atol=1e-5)


def test_a_graph_that_takes_bytes_scales_them_itself(digits: fnnet.Params) -> None:
    test = fnnet.load_digits().test
    about = exports.About("digits", tuple("0123456789"), 255)
    run = session(digits, images=(8, 8), about=about)
    (taken,) = run.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("x", "tensor(uint8)", ["N", 8, 8])
    (logits,) = run.run(["logits"], {"x": test.x})
    expected = fnnet.forward(digits, fnnet.as_inputs(test))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"images must have the network's 64 inputs, got .*\(8,\)"):
        exports.as_onnx(digits, images=(8,))


def test_onnx_metadata_say_what_the_network_knows() -> None:
    about = exports.About("letters", ("a", "β", "*/", '"'), 255)
    found = session(network(activation="tanh"), about=about).get_modelmeta()
    known = found.custom_metadata_map
    assert json.loads(known.pop("classes")) == ["a", "β", "*/", '"']
    assert known == {
        "dataset": "letters",
        "divisor": "255.0",
        "activation": "tanh",
        "output": "softmax",
    }
    assert found.producer_name == "fnnet"


# --- NumPy


def read(arrays: dict[str, Any], activation: str = "relu") -> Callable[[Any], Any]:
    """The reader of the docstring, run on a file with these arrays."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    words = re.findall(r"- (\w+): ``(.*)``", exports.__doc__ or "")
    text = READER.replace('"network.npz"', "file")
    assert text != READER
    if activation != "relu":
        line = f"z = x.dot(w[i]) + b[i]; x = {dict(words)[activation]}"
        text = text.replace("x = np.maximum(x.dot(w[i]) + b[i], 0)", line)
        assert line in text
    import math

    names: dict[str, Any] = {"file": file, "math": math}
    exec(text, names)
    return names["logits"]  # type: ignore[no-any-return]  # of a program that was text


def test_the_reader_has_no_more_than_ten_lines() -> None:
    assert 0 < len([line for line in READER.splitlines() if line]) <= 10


@activations
def test_few_lines_read_the_npz_of_every_activation(activation: str) -> None:
    for params in (network(activation=activation), network((12, 4), activation=activation)):
        logits = read(exports.as_npz(params), activation)
        np.testing.assert_allclose(logits(X), fnnet.forward(params, X), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(logits(X[0]), fnnet.forward(params, X[:1])[0], 1e-5, 1e-5)


@pytest.mark.parametrize(("numbers", "least"), [("float32", 0), ("float16", 2), ("int8", 3)])
def test_smaller_numbers_take_fewer_bytes_and_hardly_change_what_is_predicted(
    digits: fnnet.Params, numbers: str, least: int
) -> None:
    arrays, test = exports.as_npz(digits, numbers=numbers), fnnet.load_digits().test
    assert {a.dtype for name, a in arrays.items() if name[0] == "w"} == {np.dtype(numbers)}
    guesses = read(arrays)(fnnet.as_inputs(test)).argmax(axis=1)
    differing = (guesses != fnnet.predict(digits, fnnet.as_inputs(test))).sum()
    assert differing <= least
    whole = sum(a.nbytes for name, a in exports.as_npz(digits).items() if name != "about")
    size = sum(a.nbytes for name, a in arrays.items() if name != "about")
    assert size <= {"float32": 1, "float16": 0.5, "int8": 0.32}[numbers] * whole


def test_int8_is_symmetric_by_output_and_off_by_half_a_step_at_most() -> None:
    params = fnnet.tree_map(lambda leaf: leaf * np.float32(1e-3), network((12, 5, 4)))
    w = params.layers[0].w.copy()
    w[:, 2] = 0  # a unit that looks at nothing
    w[3, 1] = 7
    params = fnnet.Params((fnnet.Layer(w, params.layers[0].b), params.layers[1]))
    arrays = exports.as_npz(params, numbers="int8")
    q, s = arrays["w1"], arrays["s1"]
    assert q.dtype == np.int8
    assert s.shape == (5,)
    assert np.all(np.abs(q).max(axis=0) == [127, 127, 0, 127, 127])
    assert np.all(np.abs(q * s - w) <= 0.5001 * s)
    assert np.all(arrays["b1"] == params.layers[0].b)


def test_the_npz_says_what_the_network_knows() -> None:
    about = exports.About("letters", tuple("abcd"), 255)
    arrays = exports.as_npz(network(output="sigmoid"), about=about)
    assert json.loads(str(arrays["about"])) == {
        "dataset": "letters",
        "classes": list("abcd"),
        "divisor": 255.0,
        "activation": "relu",
        "output": "sigmoid",
    }


# --- C

MAIN = """
#include <stdio.h>
#include "{file}"
{prototypes}
int main(void)
{{
    static float x[{d}], z[{k}];
    while (fread(x, sizeof *x, {d}, stdin) == {d}) {{
        {call}
        fwrite(z, sizeof *z, {k}, stdout);
    }}
    return 0;
}}
"""


def built(folder: Path, name: str, main: str, *sources: str) -> Path:
    """A program of what stands in the folder, compiled without a warning."""
    (folder / "main.c").write_text(main)
    program = folder / f"{name}.exe"
    command = [str(CC), *STRICT, "-o", str(program), "main.c", *sources, "-lm"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    return program


def run_c(
    folder: Path, params: fnnet.Params, x: Any, suffix: str = ".h", ask: str = "", **options: Any
) -> Any:
    """Logits, or with `ask` the answers of that function, of the compiled network."""
    d, k = x.shape[1], params.layers[-1].b.size
    exports.export(folder / f"net{suffix}", params, **options)
    prototypes = "void net_logits(const float *x, float *logits);\n" * (suffix == ".c")
    file, sources = ("net.h", ()) if suffix == ".h" else ("stdlib.h", ("net.c",))
    if ask == "class":
        k, call = 1, "z[0] = (float)net_class(x);"
    elif ask == "labels":
        call = f"int y[{k}]; net_labels(x, y); for (int j = 0; j < {k}; j++) z[j] = (float)y[j];"
    else:
        call = "net_logits(x, z);"
    main = MAIN.format(file=file, prototypes=prototypes, d=d, k=k, call=call)
    program = built(folder, "net", main, *sources)
    content = np.ascontiguousarray(x, dtype=np.float32).tobytes()
    result = subprocess.run([program], input=content, capture_output=True, check=True, timeout=300)
    return np.frombuffer(result.stdout, np.float32).reshape(len(x), k)


@compiler
@activations
@pytest.mark.parametrize("suffix", [".h", ".c"])
def test_c_computes_the_logits_of_every_activation(
    tmp_path: Path, activation: str, suffix: str
) -> None:
    params = network(activation=activation)
    for x in (X, 20 * X):
        logits = run_c(tmp_path, params, x, suffix)
        np.testing.assert_allclose(logits, fnnet.forward(params, x), rtol=1e-5, atol=1e-5)
    text = (tmp_path / f"net{suffix}").read_text()
    straight = activation in ("relu", "leaky_relu", "identity")
    assert re.findall("#include.*", text) == ([] if straight else ["#include <math.h>"])
    assert "malloc" not in text


@compiler
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_c_of_one_layer_needs_no_activation(tmp_path: Path, activation: str) -> None:
    params = network((12, 4), activation=activation)
    np.testing.assert_allclose(run_c(tmp_path, params, X, ".c"), fnnet.forward(params, X), 1e-5)
    assert "#include" not in (tmp_path / "net.c").read_text()


@compiler
@pytest.mark.parametrize(
    ("output", "k", "ask"),
    [("softmax", 4, "class"), ("sigmoid", 1, "class"), ("sigmoid", 4, "labels")],
)
def test_c_predicts_what_fnnet_predicts(tmp_path: Path, output: str, k: int, ask: str) -> None:
    params = network((12, 6, k), output=output)
    x = np.random.default_rng(3).standard_normal((200, 12)).astype(np.float32)
    expected = fnnet.predict(params, x).reshape(200, -1)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(run_c(tmp_path, params, x, ask=ask), expected)


def test_c_of_numbers_has_no_classes() -> None:
    text = exports.as_c(network(output="identity"), "net")
    assert "net_logits" in text
    assert "net_class" not in text
    assert "net_labels" not in text


@compiler
def test_a_value_that_is_no_number_does_not_vanish_in_c(tmp_path: Path) -> None:
    x = X.copy()
    x[0, 1] = np.nan
    logits = run_c(tmp_path, network(), x)
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1:]).all()


@compiler
@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_c_knows_the_digits_as_the_network_does(
    digits: fnnet.Params, tmp_path: Path, numbers: str
) -> None:
    test = fnnet.load_digits().test
    x, expected = fnnet.as_inputs(test), fnnet.predict(digits, fnnet.as_inputs(test))
    (classes,) = run_c(tmp_path, digits, x, ask="class", numbers=numbers).T
    assert (classes != expected).sum() <= (0 if numbers == "float32" else 3)


@compiler
def test_a_header_serves_two_files_of_one_program(tmp_path: Path) -> None:
    exports.export(tmp_path / "net.h", network())
    (tmp_path / "other.c").write_text('#include "net.h"\n#include "net.h"\nint other;\n')
    built(tmp_path, "both", '#include "net.h"\nint main(void) { return 0; }\n', "other.c")


@compiler
def test_headers_whose_names_differ_in_capitals_alone_serve_one_program(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()  # some disks take both names for one
    exports.export(tmp_path / "net.h", network())
    exports.export(tmp_path / "upper" / "Net.h", network())
    main = "int main(void) { float x[12] = {0}; return net_class(x) - Net_class(x); }\n"
    program = built(tmp_path, "two", f'#include "net.h"\n#include "upper/Net.h"\n{main}')
    assert subprocess.run([program], check=False).returncode == 0


@compiler
def test_what_a_comment_says_cannot_end_it(tmp_path: Path) -> None:
    names = ("*/ int x; /*", "??/", "a\\\n", 'ω"*/')
    about = exports.About("*/\n#error no\n/*", names, 16)
    run_c(tmp_path, network(), X, ".c", about=about)
    text = (tmp_path / "net.c").read_text()
    assert text.isascii()
    found = re.findall("classes: (.*) [*]/", text)
    assert tuple(json.loads(found[0])) == names


@compiler
@pytest.mark.parametrize("suffix", [".h", ".c"])
def test_words_of_c_and_its_headers_serve_as_names(tmp_path: Path, suffix: str) -> None:
    names = ["while", "inline", "alignas", "class", "main", "expf", "EOF", "M", "x", "z", "w1"]
    names += ["h1", "i", "f", "H", "logits", "a_w1", "n" * 200]
    for name in names:
        exports.export(tmp_path / f"{name}{suffix}", network(activation="gelu"), numbers="int8")
    main = "int main(void) { return 0; }\n"
    if suffix == ".h":
        built(tmp_path, "all", "".join(f'#include "{name}.h"\n' for name in names) + main)
    else:
        (tmp_path / "main.c").rename(tmp_path / "main_.c")  # `built` writes a main.c of its own
        built(tmp_path, "all", main, *("main_.c" if n == "main" else f"{n}.c" for n in names))


@pytest.mark.parametrize("name", ["", "7net", "my-net", "net.v2", "_net", "é", "net;"])
def test_a_name_that_is_no_identifier_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must be a letter, then letters, digits and"):
        exports.as_c(network(), name)
    if name:
        with pytest.raises(ValueError, match="name must be"):
            exports.export(tmp_path / f"{name}.h", network())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def mnist() -> tuple[fnnet.Params, fnnet.Split]:
    if FULL is None:
        pytest.skip("FNNET_DATA does not name the folder of MNIST's four files")
    data = fnnet.load_mnist(FULL)
    state = fnnet.rmsprop_init(fnnet.init_params(0, (784, 128, 10)))
    *_, last = fnnet.train(state, data.train, rng=0, epochs=2, epoch=fnnet.train_epoch)
    return last.state.params, data.test


@compiler
def test_c_gives_all_test_images_of_mnist_the_class_that_the_network_gives(
    mnist: tuple[fnnet.Params, fnnet.Split], tmp_path: Path
) -> None:
    params, test = mnist
    x = fnnet.as_inputs(test)
    (classes,) = run_c(tmp_path, params, x, ask="class").T
    np.testing.assert_array_equal(classes, fnnet.predict(params, x))
    (coarse,) = run_c(tmp_path, params, x, ask="class", numbers="int8").T
    assert abs((coarse == test.y).mean() - (classes == test.y).mean()) <= 0.001


# --- what is refused

FORMATS: dict[str, Callable[[fnnet.Params], object]] = {
    "onnx": exports.as_onnx,
    "npz": exports.as_npz,
    "c": lambda params: exports.as_c(params, "net"),
}


@pytest.mark.parametrize("form", ["onnx", "c"])
def test_an_activation_that_an_export_does_not_know_is_refused(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "onnx":
        pytest.importorskip("onnx", reason="onnx is not installed")
    monkeypatch.setitem(ACTIVATIONS, "new", ACTIVATIONS["tanh"])
    with pytest.raises(ValueError, match=r"activation 'new' has no form in .* yet: add it to"):
        FORMATS[form](network(activation="new"))


@pytest.mark.parametrize("form", FORMATS)
def test_activations_of_your_own_ensembles_and_what_is_not_finite_are_refused(form: str) -> None:
    make = FORMATS[form]
    with pytest.raises(ValueError, match="activation 'mine' is one of your own"):
        make(network(activation=OWN))
    false = fnnet.Activation("relu", OWN.f, OWN.df)
    with pytest.raises(ValueError, match=r"must not be called 'relu'|'relu' is one of your own"):
        make(network(activation=false))
    one = network()
    with pytest.raises(ValueError, match=r"params must be one network, got an ensemble of .*\(2,"):
        make(fnnet.tree_map(lambda a, b: np.stack([a, b]), one, one))
    with pytest.raises(ValueError, match="params must be finite"):
        make(fnnet.tree_map(lambda leaf: leaf * np.float32(np.inf), one))
    with pytest.raises(TypeError, match=r"write state\.params"):
        make(fnnet.rmsprop_init(one))  # type: ignore[arg-type]  # a user's mistake


def test_an_activation_of_fnnet_may_be_given_as_itself() -> None:
    assert "tanhf" in exports.as_c(network(activation=ACTIVATIONS["tanh"]), "net")


def test_numbers_that_a_format_has_no_room_for_are_refused() -> None:
    large = fnnet.tree_map(lambda leaf: leaf * 1e6, network(dtype=np.float64))
    with pytest.raises(ValueError, match=r"w1 must be finite in float16, got up to \d"):
        exports.as_npz(large, numbers="float16")
    huge = fnnet.tree_map(lambda leaf: leaf * 1e60, network(dtype=np.float64))
    with pytest.raises(ValueError, match=r"w1 must be finite in float32, got up to \d"):
        exports.as_c(huge, "net")
    with pytest.raises(ValueError, match=r"the scale of w1 must be finite in float32"):
        exports.as_c(huge, "net", int8=True)
    with pytest.raises(ValueError, match="numbers must be one of"):
        exports.as_npz(network(), numbers="int4")


def test_what_export_cannot_write_leaves_no_file(tmp_path: Path) -> None:
    params = network()
    with pytest.raises(ValueError, match=r"path must end in one of \.onnx, \.npz, \.h, \.c, got"):
        exports.export(tmp_path / "net.txt", params)
    with pytest.raises(ValueError, match=r"numbers must not be 'float16' for \.c"):
        exports.export(tmp_path / "net.c", params, numbers="float16")
    with pytest.raises(ValueError, match=r"numbers must not be 'int8' for \.onnx"):
        exports.export(tmp_path / "net.onnx", params, numbers="int8")
    with pytest.raises(ValueError, match=r"images are for \.onnx alone"):
        exports.export(tmp_path / "net.c", params, images=(3, 4))
    with pytest.raises(ValueError, match="is one of your own"):
        exports.export(tmp_path / "net.npz", network(activation=OWN))
    assert list(tmp_path.iterdir()) == []


def test_equal_networks_are_equal_bytes(tmp_path: Path) -> None:
    for suffix in (".npz", ".c", ".h"):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            exports.export(tmp_path / name / f"net{suffix}", network())
        assert (tmp_path / f"a/net{suffix}").read_bytes() == (
            tmp_path / f"b/net{suffix}"
        ).read_bytes()


def test_what_a_network_was_trained_on_is_checked() -> None:
    with pytest.raises(ValueError, match="classes must be as many as the 4 logits, got 3"):
        exports.as_npz(network(), about=exports.About(classes=tuple("abc")))
    with pytest.raises(ValueError, match="divisor must be a finite number > 0, got 0"):
        exports.About(divisor=0)
    with pytest.raises(TypeError, match="classes must be a tuple of str, got 'abc'"):
        exports.About(classes="abc")  # type: ignore[arg-type]  # a user's mistake
    with pytest.raises(TypeError, match="dataset must be a str, got 3"):
        exports.About(dataset=3)  # type: ignore[arg-type]  # a user's mistake
    two = exports.as_npz(
        network((12, 1), output="sigmoid"), about=exports.About(classes=("n", "y"))
    )
    assert "about" in two


# --- the way in


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_of_scikit_learn_becomes_the_same_network(
    activation: str, classes: int
) -> None:
    networks = pytest.importorskip("sklearn.neural_network")
    y = np.arange(60) % classes
    x = np.random.default_rng(0).standard_normal((60, 12)) + y[:, None]
    model = networks.MLPClassifier((9, 8), activation=activation, max_iter=2, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        model.fit(x, y)
    params = exports.from_sklearn(model)
    p = fnnet.predict_proba(params, x)
    expected = model.predict_proba(x)[:, -p.shape[1] :]
    np.testing.assert_allclose(p, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(fnnet.predict(params, x).reshape(60), model.predict(x))


def test_a_regressor_of_scikit_learn_becomes_the_same_network() -> None:
    networks = pytest.importorskip("sklearn.neural_network")
    model = networks.MLPRegressor(hidden_layer_sizes=(9,), max_iter=2, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        model.fit(X, X[:, :2])
    params = exports.from_sklearn(model)
    assert params.output == "identity"
    np.testing.assert_allclose(fnnet.predict(params, X), model.predict(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError, match="model must be a fitted network of scikit-learn"):
        exports.from_sklearn(networks.MLPRegressor())


@pytest.mark.parametrize("activation", ["ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "LeakyReLU"])
def test_a_state_dict_of_torch_becomes_the_same_network(activation: str) -> None:
    torch = pytest.importorskip("torch")
    act = getattr(torch.nn, activation)
    layers = [torch.nn.Linear(12, 9), act(), torch.nn.Linear(9, 8, bias=False), act()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 4))
    name = {"LeakyReLU": "leaky_relu"}.get(activation, activation.lower())
    params = exports.from_torch(model.state_dict(), name)
    expected = model(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(fnnet.forward(params, X), expected, rtol=1e-5, atol=1e-5)
    half = exports.from_torch(model.to(torch.bfloat16).state_dict(), name)
    np.testing.assert_allclose(fnnet.forward(half, X), expected, atol=0.1)


def test_what_is_no_linear_layer_of_torch_is_refused() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(3, 2))
    message = r"linear layers alone, got '0.weight' of shape \(2, 1, 3, 3\)"
    with pytest.raises(ValueError, match=message):
        exports.from_torch(model.state_dict())
    with pytest.raises(ValueError, match="weights and biases of linear layers alone"):
        exports.from_torch(torch.nn.BatchNorm1d(3).state_dict())


def dense(x: Any, kernel: Any, bias: Any, f: Callable[[Any], Any]) -> Any:
    """A dense layer, as Keras's page has it: activation(dot(input, kernel) + bias)."""
    return f(np.dot(x, kernel) + bias)


def test_weights_of_keras_become_the_same_network() -> None:
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal(shape).astype(np.float32) for shape in ((12, 9), (9, 8), (8, 4))]
    first, last = (rng.standard_normal(n).astype(np.float32) for n in (9, 4))
    weights = [kernels[0], first, kernels[1], kernels[2], last]  # the second has use_bias=False
    params = exports.from_keras(weights, "tanh", "sigmoid")
    h = dense(dense(X, kernels[0], first, np.tanh), kernels[1], 0, np.tanh)
    expected = dense(h, kernels[2], last, lambda z: z)
    np.testing.assert_allclose(fnnet.forward(params, X), expected, rtol=1e-5, atol=1e-5)
    assert (params.activation, params.output) == ("tanh", "sigmoid")


def test_a_model_of_keras_becomes_the_same_network() -> None:
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Dense(n, activation=f) for n, f in ((9, "gelu"), (4, None))]
    model = keras.Sequential([keras.Input((12,)), *layers])
    params = exports.from_keras(model.get_weights(), "gelu")
    expected = np.asarray(model(X))
    np.testing.assert_allclose(fnnet.forward(params, X), expected, rtol=1e-5, atol=1e-5)


def test_the_page_s_ways_in_are_calls_that_work() -> None:
    networks = pytest.importorskip("sklearn.neural_network")
    torch = pytest.importorskip("torch")
    weights = [np.ones((12, 4), np.float32), np.ones(4, np.float32)]

    class Model:
        state_dict = staticmethod(torch.nn.Linear(12, 4).state_dict)
        get_weights = staticmethod(lambda: weights)

    names: dict[str, Any] = {"x": X, "y": np.arange(len(X)) % 2, "model": Model}
    names["MLPClassifier"] = partial(networks.MLPClassifier, max_iter=1000)
    for line in WAYS_IN.splitlines()[2:]:
        exec(WAYS_IN.splitlines()[0] + "\n" + line, names)
        assert fnnet.forward(names["params"], X).shape[0] == len(X)


def test_weights_that_are_no_dense_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights must have a matrix before each bias, got \(4,"):
        exports.from_keras([np.ones((3, 4)), np.ones(4), np.ones(4)])
    with pytest.raises(ValueError, match=r"dense layers alone, got an array of shape \(2, 2, 2\)"):
        exports.from_keras([np.ones((2, 2, 2))])
    with pytest.raises(ValueError, match="weights must hold at least one layer, got none"):
        exports.from_keras([])
    with pytest.raises(ValueError, match="output must be one of"):
        exports.from_keras([np.ones((3, 4))], output="linear")
    model = SimpleNamespace(coefs_=[np.ones((3, 2))], intercepts_=[np.full(2, np.nan)])
    model.activation, model.out_activation_ = "relu", "softmax"
    with pytest.raises(ValueError, match="params must be finite"):
        exports.from_sklearn(model)
