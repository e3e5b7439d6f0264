r"""Curvature: exact products of the Hessian, and of the Gauss-Newton matrix, with a vector.

Neither matrix is ever made: for 784-128-10 it would have 10¹⁰ numbers. Pearlmutter's operator
R{·} = d/dε at W + ε V, b + ε c, the derivative along a direction (V, c), goes once through the
equations of `network` and gives those below (1994, section 3; Bishop 2006, section 5.4.6). The
numbers stand at the ends of the lines that compute them. H is the input of a layer, X that of the
first, and R{X} = 0; f is the activation, whose derivatives f' and f'' are taken at Z, and products
without a sign are element by element.

The way there, of each layer:

.. math::

    R\{Z\} = H V + c + R\{H\} W \tag{13}

    R\{H\} = f' R\{Z\}, \text{ the input of the layer after it} \tag{14}

The predictions, and the derivative of the loss with respect to the logits:

.. math::

    R\{P\} = \begin{cases}
    P (R\{Z\} - \sum P R\{Z\}) & \text{softmax} \\
    P (1 - P) R\{Z\} & \text{sigmoid} \\
    R\{Z\} & \text{identity}
    \end{cases} \tag{15}

    R\{∂L/∂Z\} = s R\{P\} / \sum s \tag{16}

The way back, of each layer, from the last one to the first:

.. math::

    R\{∂L/∂W\} = H^⊤ R\{∂L/∂Z\} + R\{H\}^⊤ ∂L/∂Z \tag{17}

    R\{∂L/∂b\} = \sum_n R\{∂L/∂Z\}_n \tag{18}

    R\{∂L/∂H\} = R\{∂L/∂Z\} W^⊤ + ∂L/∂Z \, V^⊤ \tag{19}

    R\{∂L/∂Z\} = f' R\{∂L/∂H\} + f'' R\{Z\} ∂L/∂H, \text{ a layer before} \tag{20}

(17) and (18) are the product with the Hessian. The product with the Gauss-Newton matrix Jᵀ M J, J
the Jacobian of the logits and M the Hessian of the loss with respect to them, is (13) to (16), then
equations (6) to (10) with (16) in the place of (5) (Schraudolph 2002). M is the Hessian of a convex
function, so that this matrix has no negative eigenvalue; it is also the Fisher information of the
network's predictions.

`check_grads` compares the gradient of any function with differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.activations import Derivative, activation_of, zero
from fnnet.arguments import Batch
from fnnet.checks import (
    FloatArray,
    check_not_negative,
    function,
    is_array,
    underflow_is_zero,
    whole_number,
)
from fnnet.network import (
    Pass,
    affine,
    backward_pass,
    forward_pass,
    logits_grads,
    ones_for,
    weighted,
)
from fnnet.outputs import output_of
from fnnet.params import Params
from fnnet.randomness import Seed, generator
from fnnet.trees import (
    blank,
    freeze,
    is_static,
    layout_of,
    same_structure,
    tree_leaves,
    tree_map,
    tree_ravel,
)

T = TypeVar("T")

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)  # h, for parameters up to 1
ROUNDING = 100 * float(np.finfo(np.float64).eps)  # of a value of 1 that many numbers add up to

# R{P} from P and R{Z}, for each output.
MOVED_PREDICTIONS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "softmax": lambda p, rz: p * (rz - (p * rz).sum(axis=-1, keepdims=True)),
    "sigmoid": lambda p, rz: p * (1 - p) * rz,
    "identity": lambda p, rz: rz,
}


class Moved(NamedTuple):
    """What R makes of a forward pass.

    Attributes
    ----------
    rh : R{H} of each hidden layer
    rz : R{Z} of each hidden layer
    slopes : f' of each hidden layer
    logits : R{Z} of the last layer
    """

    rh: list[FloatArray]
    rz: list[FloatArray]
    slopes: list[FloatArray]
    logits: FloatArray


@underflow_is_zero
def layer_inputs(params: Params, x: npt.ArrayLike) -> tuple[tuple[FloatArray, ...], FloatArray]:
    """The inputs of each layer, and the logits, equations (1) and (2).

    K-FAC needs their second moments, pruning asks which units are never active, and a figure shows
    what hidden units have made of an image.

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (..., N, d) or (d,) numbers, as `forward`, as are the errors

    Returns
    -------
    inputs : one array (..., N, inputs) for each layer. The first is x in the parameters' dtype: x
        itself where it has that dtype
    logits : (..., N, K) array; without the axis N, as the inputs, for a single sample

    Examples
    --------
    >>> from fnnet import init_params
    >>> inputs, logits = layer_inputs(init_params(0, (3, 4, 2)), np.ones((5, 3)))
    >>> [h.shape for h in inputs], logits.shape
    ([(5, 3), (5, 4)], (5, 2))
    """
    samples, masks = arguments.masked_inputs(params, x, None)
    done = forward_pass(params, samples, masks)
    if np.ndim(x) > 1:
        return tuple(done.h), done.logits
    return tuple(h[..., 0, :] for h in done.h), done.logits[..., 0, :]


@underflow_is_zero
def hessian_vector(
    params: Params,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    v: Params,
    *,
    weights: npt.ArrayLike | None = None,
) -> Params:
    """The exact product of the Hessian of `loss` with a vector: d/dε grads(params + ε v) at ε = 0.

    Equations (13) to (20). It takes about twice the time of `grads`. The second derivative of the
    activations that have a kink ("relu", "leaky_relu") is taken as 0, as JAX and PyTorch do.

    Parameters
    ----------
    params, x, y, weights : as `loss`, as are the errors
    v : the vector, a tree like `params` (cast to its dtype)

    Returns
    -------
    product : a tree like `params`. The Hessian of an ensemble holds that of each member; those of
        two members have nothing in common

    Raises
    ------
    TypeError
        If v is not a `Params`, or holds anything but real numbers.
    ValueError
        If v differs from `params` in structure or shapes, or the activation has no `ddf`.

    Examples
    --------
    The curvature along the gradient, which tells how far a step may go:

    >>> from fnnet import grads, init_params, tree_ravel
    >>> params, x, y = init_params(0, (3, 2), np.float64), np.eye(3), [0, 1, 1]
    >>> gradient = grads(params, x, y)
    >>> g, hg = (tree_ravel(t)[0] for t in (gradient, hessian_vector(params, x, y, gradient)))
    >>> round(float(g @ hg / (g @ g)), 3)
    0.314
    """
    b, v = arguments.batch(params, x, y, weights), _direction(params, v)
    done = forward_pass(params, b.x, b.masks)
    moved = _moved(params, v, done)
    p = output_of(params.output).predictions(done.logits)
    rdz = _moved_dz(params, b, p, moved)
    return _moved_backward(params, v, done, moved, logits_grads(p, b), rdz)


@underflow_is_zero
def gauss_newton_vector(
    params: Params,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    v: Params,
    *,
    weights: npt.ArrayLike | None = None,
) -> Params:
    """The exact product of the Gauss-Newton matrix of `loss` with a vector.

    Equations (13) to (16), then (6) to (10). The matrix is the Hessian without the curvature of the
    network itself. It is never negative, v · G v >= 0, and equal to the Hessian where there is no
    hidden layer, or where every prediction is its label.

    Parameters
    ----------
    params, x, y, weights : as `loss`, as are the errors
    v : the vector, a tree like `params` (cast to its dtype)

    Returns
    -------
    product : a tree like `params`

    Raises
    ------
    TypeError, ValueError
        As `hessian_vector`; no `ddf` is needed.

    Examples
    --------
    >>> from fnnet import init_params, tree_ravel
    >>> params, x, y = init_params(0, (3, 4, 2)), np.eye(3), [0, 1, 1]
    >>> v, gv = (tree_ravel(t)[0] for t in (params, gauss_newton_vector(params, x, y, params)))
    >>> bool(v @ gv > 0)
    True
    """
    b, v = arguments.batch(params, x, y, weights), _direction(params, v)
    done = forward_pass(params, b.x, b.masks)
    p = output_of(params.output).predictions(done.logits)
    rdz = _moved_dz(params, b, p, _moved(params, v, done))
    return backward_pass(params, done, b.masks, rdz)[0]


def _direction(params: Params, v: Params) -> Params:
    """The vector as a tree of the parameters' dtype."""
    arguments.check_tree("v", v)
    if not same_structure(v, params):
        raise ValueError(
            f"v must have the structure and shapes of params, {params!r}, got {v!r}: "
            "write tree_map(f, params), or unravel of tree_ravel(params)"
        )
    dtype, kinds = params.layers[0].w.dtype, {leaf.dtype for leaf in tree_leaves(v)}
    for kind in kinds:
        if kind.kind not in "fiub":
            raise TypeError(f"v must hold real numbers, got dtype {kind}")
    return v if kinds == {dtype} else tree_map(lambda leaf: leaf.astype(dtype), v)


def _second_derivative(params: Params) -> Derivative | None:
    """f'' of the hidden units, None where it is 0 everywhere."""
    activation = activation_of(params.activation)
    if activation.ddf is None and len(params.layers) > 1:
        raise ValueError(
            f"activation {activation.name!r} must have a ddf, its second derivative: write "
            "Activation(name, f, df, ddf), or take gauss_newton_vector, which needs none"
        )
    return None if activation.ddf is zero else activation.ddf


def _moved(params: Params, v: Params, done: Pass) -> Moved:
    df = activation_of(params.activation).df
    rz = affine(done.h[0], v.layers[0])  # the inputs stay: R{X} = 0
    moved = Moved([], [], [], rz)
    for i, (layer, step) in enumerate(zip(params.layers[1:], v.layers[1:], strict=True)):
        slope = df(done.z[i], done.a[i])
        rh = slope * rz  # (14)
        for values, value in zip(moved[:3], (rh, rz, slope), strict=True):
            values.append(value)
        rz = affine(done.h[i + 1], step)
        rz += rh @ layer.w  # (13)
    return moved._replace(logits=rz)


def _moved_dz(params: Params, b: Batch, p: FloatArray, moved: Moved) -> FloatArray:
    rp = MOVED_PREDICTIONS[params.output](p, moved.logits)  # (15)
    return weighted(rp, b) / b.total  # (16)


def _moved_backward(
    params: Params, v: Params, done: Pass, moved: Moved, dz: FloatArray, rdz: FloatArray
) -> Params:
    ddf, (vector, layout) = _second_derivative(params), blank(params)
    leaves, ones = layout.leaves(vector), ones_for(dz)
    for i in reversed(range(len(params.layers))):
        rdw, rdb = leaves[2 * i : 2 * i + 2]
        np.matmul(done.h[i].mT, rdz, out=rdw)
        if i:
            np.add(rdw, moved.rh[i - 1].mT @ dz, out=rdw)  # (17)
        np.matmul(ones, rdz, out=rdb)  # (18)
        if i:
            w, step, j = params.layers[i].w, v.layers[i].w, i - 1
            dh, rdh = dz @ w.mT, rdz @ w.mT
            rdh += dz @ step.mT  # (19)
            rdz = moved.slopes[j] * rdh
            if ddf is not None:
                rdz += ddf(done.z[j], done.a[j]) * moved.rz[j] * dh  # (20)
            dz = moved.slopes[j] * dh
    return freeze(vector, layout)


@underflow_is_zero
def check_grads(
    f: Callable[[T], tuple[float, T]],
    params: T,
    *,
    rng: Seed = 0,
    directions: int = 3,
    tolerance: float = 1e-6,
) -> float:
    """Compare the gradient that a function claims with differences of its values, in float64.

    For each leaf the derivative along random directions u is compared with central differences,
    (f(w + h u) - f(w - h u)) / 2h. Four steps h are tried, of which the best counts: where h is
    large the function bends, where it is small rounding shows. What is wrong is wrong for all.

    The error is relative, ``|claimed - measured| / max(|claimed|, |measured|)``: what is small
    depends on the gradient. What to make of it (after the notes of Stanford's course CS231n):
    below 1e-7 the gradient is right; up to 1e-4 it may be, if f has kinks, as "relu" has, but not
    where all is smooth; above 1e-2 it is wrong. At a kink itself no gradient agrees: start from
    random parameters, biases included, rather than from zeros. Switch off what draws random
    numbers (dropout), or draw the same ones at each call.

    Parameters
    ----------
    f : function from a tree like `params` to its value and the gradient, such as
        ``lambda params: loss_and_grads(params, x, y)``; called about 8 times per leaf and direction
    params : where to compare: `Params`, or any tree of arrays, an array included; cast to float64
    rng : generator, which advances, or a seed
    directions : number of directions for each leaf, >= 1
    tolerance : largest relative error of a leaf that is allowed, >= 0

    Returns
    -------
    error : the largest relative error of a leaf

    Raises
    ------
    AssertionError
        If a leaf is off by more: it says which leaves, by how much, and what an element of the
        worst one should have been.
    TypeError, ValueError
        If f returns anything but a finite number and a gradient of the structure of `params` in
        float64, or another argument is out of range.

    Examples
    --------
    >>> from fnnet import init_params, loss_and_grads
    >>> params, x, y = init_params(0, (3, 4, 2), activation="tanh"), np.eye(3), [0, 1, 1]
    >>> check_grads(lambda params: loss_and_grads(params, x, y), params) < 1e-7
    True
    >>> check_grads(lambda w: (float(w @ w), w), np.array([1.0, 2.0, 3.0]))
    Traceback (most recent call last):
        ...
    AssertionError: the gradient is off: params by 5.0e-01 (relative; 1e-06 is allowed). \
At params[0] it is 1, differences give 2
    """
    rng, tolerance = generator(rng), check_not_negative("tolerance", tolerance)
    function("f", f)
    directions = whole_number("directions", directions, 1)
    at, unravel = tree_ravel(_wide(params))
    value, gradient = _claim(f, unravel(at))
    compare = partial(_compare, lambda w: _claim(f, unravel(w))[0], at, gradient, value)
    parts, errors = dict(zip(_names(params), layout_of(params).parts, strict=True)), {}
    for name, (start, stop, _) in parts.items():
        if not np.isfinite(gradient[start:stop]).all():
            raise AssertionError(f"the gradient is off: {name} is not finite")
        found = [compare(rng, start, stop) for _ in range(directions)]
        claimed, measured, error = (
            float(np.linalg.norm(each)) for each in zip(*found, strict=True)
        )
        errors[name] = error / max(claimed, measured) if error else 0.0
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    if not wrong:
        return max(errors.values(), default=0.0)
    worst = max(wrong, key=lambda name: wrong[name])
    start, stop, shape = parts[worst]
    i = _wrong_element(partial(compare, rng), start, stop)
    place = ", ".join(str(int(each)) for each in np.unravel_index(i - start, shape))
    _, measured, _ = compare(None, i, i + 1)
    raise AssertionError(
        f"the gradient is off: {', '.join(f'{name} by {e:.1e}' for name, e in wrong.items())} "
        f"(relative; {tolerance:g} is allowed). At {worst}[{place}] it is {gradient[i]:.6g}, "
        f"differences give {measured:.6g}"
    )


def _wide(params: T) -> T:
    """A tree in float64."""
    try:
        leaves = tree_leaves(params)
    except TypeError as error:
        raise TypeError(f"params must be a tree of arrays: {error}") from None
    for leaf in leaves:
        if leaf.dtype.kind not in "fiub" or isinstance(leaf, np.ma.MaskedArray):
            raise TypeError(f"params must hold arrays of real numbers, got {leaf!r:.99}")
    return tree_map(lambda leaf: leaf.astype(np.float64), params)


def _claim(f: Callable[[T], tuple[float, T]], params: T) -> tuple[float, FloatArray]:
    """What f returns: its value, and the gradient as a vector."""
    try:
        value, gradient = f(params)
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"f must return a number and its gradient, as loss_and_grads: {error!s:.99}"
        ) from error
    if not np.isfinite(number):
        raise ValueError(f"f must be finite where gradients are compared, got {number}")
    if not same_structure(gradient, params):
        raise ValueError("the gradient must have the structure and shapes of params")
    for leaf in tree_leaves(gradient):
        if leaf.dtype != np.float64:
            raise TypeError(
                f"f must compute in float64, got a gradient of {leaf.dtype}, whose rounding would "
                "drown the differences"
            )
    return number, tree_ravel(gradient)[0]


def _compare(
    f: Callable[[FloatArray], float],
    at: FloatArray,
    gradient: FloatArray,
    value: float,
    rng: np.random.Generator | None,
    start: int,
    stop: int,
) -> tuple[float, float, float]:
    """Claimed and measured derivative along a direction in a part of the vector, and the error.

    What rounding of f's value may make of a difference is no error.
    """
    u, part = np.zeros_like(at), slice(start, stop)
    u[part] = 1.0 if rng is None else rng.standard_normal(stop - start)
    scale = max(1.0, float(np.abs(at[part]).max(initial=0)))
    claimed, found = float(gradient @ u), []
    for h in scale * np.array(STEPS):
        measured = (f(at + h * u) - f(at - h * u)) / (2 * h)
        rounding = ROUNDING * abs(value) / h
        found.append((max(abs(measured - claimed) - rounding, 0.0), measured))
    error, measured = min(found)
    return claimed, float(measured), float(error)


def _wrong_element(
    compare: Callable[[int, int], tuple[float, float, float]], start: int, stop: int
) -> int:
    """An element whose derivative is wrong: halving keeps the half with the larger error."""
    while stop - start > 1:
        middle = (start + stop) // 2
        halves = (start, middle), (middle, stop)
        start, stop = max(halves, key=lambda half: compare(*half)[2])
    return start


def _names(node: object, name: str = "") -> list[str]:
    """What each leaf is called: ``layers[0].w``."""
    if is_array(node):
        return [name or "params"]
    if isinstance(node, tuple):
        children = [(f"{name}[{i}]", child) for i, child in enumerate(node)]
    else:
        dynamic = [each.name for each in fields(node) if not is_static(each)]  # type: ignore[arg-type]  # a tree is made of dataclasses
        children = [(f"{name}.{each}".lstrip("."), getattr(node, each)) for each in dynamic]
    return [leaf for label, child in children for leaf in _names(child, label)]
