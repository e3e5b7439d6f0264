"""The network: forward pass, loss and its exact gradient.

The numbers at the ends of lines are those of the README's equations; (3) stands in `outputs`. The
first line of each public function checks its arguments (see `arguments`); the rest is mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.activations import activation_of
from fnnet.arguments import Batch, Masks
from fnnet.checks import FloatArray, underflow_is_zero
from fnnet.outputs import log_softmax_of, output_of, softmax_losses, softmax_of
from fnnet.params import Layer, Params
from fnnet.trees import blank, freeze

# Classes are (..., N) ints, labels 0 or 1 are (..., N, K) ints, numbers (..., N, K) floats: the
# parameters' output decides, which a type checker cannot know.
Predictions: TypeAlias = npt.NDArray[Any]

Product: TypeAlias = Callable[..., FloatArray]

ONES: dict[np.dtype[Any], FloatArray] = {  # never written to: see `ones_for`
    np.dtype(kind): np.ones(4096, kind) for kind in (np.float32, np.float64)
}


class Pass(NamedTuple):
    """What the forward pass keeps for the backward pass.

    Attributes
    ----------
    h : inputs of each layer, masked
    z : sums Z of each hidden layer; its outputs, if the derivative needs no sums
    a : outputs of the activation of each hidden layer, before dropout
    logits : Z
    """

    h: list[FloatArray]
    z: list[FloatArray]
    a: list[FloatArray]
    logits: FloatArray


@underflow_is_zero
def forward(params: Params, x: npt.ArrayLike, masks: Masks | None = None) -> FloatArray:
    r"""Logits of the network, equations (1) and (2).

    .. math::

        H = f(X W_1 + b_1) \tag{1}

        Z = H W_2 + b_2 \tag{2}

    Here f is the activation. More hidden layers repeat (1).

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (..., N, d) or (d,) numbers, cast to the parameters' dtype: an array, a list or a data
        frame. For an ensemble (N, d), shared by all, or (E, N, d)
    masks : arrays that multiply each layer's inputs, from `dropout_masks`; None for a layer
        without

    Returns
    -------
    logits : (..., N, K) or (K,) array of the parameters' dtype; of an ensemble (E, N, K) or (E, K)

    Raises
    ------
    TypeError
        If params are no `Params`, or x does not hold numbers, or holds uint8, which could be
        images (0 to 255) or plain numbers.
    ValueError
        If the last axis of x, the layers among each other, or the masks do not fit.

    Examples
    --------
    >>> from fnnet import init_params
    >>> forward(init_params(0, (3, 4, 2)), np.ones((5, 3))).shape
    (5, 2)
    """
    return _logits(params, x, masks)


def _logits(params: Params, x: npt.ArrayLike, masks: Masks | None = None) -> FloatArray:
    samples, factors = arguments.masked_inputs(params, x, masks)
    logits = forward_pass(params, samples, factors).logits
    return logits if np.ndim(x) > 1 else logits[..., 0, :]


@underflow_is_zero
def softmax(logits: FloatArray) -> FloatArray:
    r"""Class probabilities, equation (3): exp(z) / sum(exp(z)) over the last axis.

    .. math::

        P_{nk} = \frac{e^{Z_{nk}}}{\sum_j e^{Z_{nj}}} \tag{3}

    Each row's maximum is subtracted first, which changes nothing but keeps exp from overflowing.

    Parameters
    ----------
    logits : (..., K) float array

    Returns
    -------
    p : (..., K) array of the logits' dtype; each row adds up to 1

    Raises
    ------
    TypeError
        If the logits are not floats.
    ValueError
        If the last axis is missing or empty.

    Examples
    --------
    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    return softmax_of(arguments.logits(logits))


@underflow_is_zero
def log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithm of `softmax`, finite wherever the logits and their differences are.

    Parameters
    ----------
    logits : (..., K) float array

    Returns
    -------
    log_p : (..., K) array of the logits' dtype, <= 0

    Raises
    ------
    TypeError
        If the logits are not floats.
    ValueError
        If the last axis is missing or empty.

    Examples
    --------
    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return log_softmax_of(arguments.logits(logits))


@underflow_is_zero
def cross_entropy(logits: FloatArray, y: npt.ArrayLike) -> float:
    r"""Mean cross-entropy of softmax(logits) against the labels, equation (4), in nats.

    .. math::

        L = -\frac{1}{N} \sum_{n,k} Y_{nk} \log P_{nk} \tag{4}

    Parameters
    ----------
    logits : (N, K) float array; (E, N, K) for an ensemble
    y : (N,) int array of classes in [0, K), or (N, K) array whose rows are distributions; for an
        ensemble the same, shared by all, or with a leading axis of E

    Returns
    -------
    loss : a float; of an ensemble the sum of its members' losses

    Raises
    ------
    TypeError, ValueError
        As `loss`.

    Examples
    --------
    >>> round(cross_entropy(np.zeros((1, 2)), np.array([1])), 4)  # log 2
    0.6931
    """
    z, rows = arguments.logits_and_labels(logits, y)
    return float(softmax_losses(z, rows)[1].sum() / z.shape[-2])


@underflow_is_zero
def loss(
    params: Params, x: npt.ArrayLike, y: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> float:
    """The loss of the network on a batch, equations (1) to (4): the mean over samples.

    `params.output` decides the loss of a sample: cross-entropy in nats for "softmax", the sum of
    binary cross-entropies in nats for "sigmoid", half of the squared error for "identity".

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (N, d) numbers; for an ensemble (N, d), shared by all, or (E, N, d)
    y : for "softmax" (N,) ints in [0, K), or (N, K) rows that are distributions; for "sigmoid"
        (N, K) zeros, ones or probabilities; for "identity" (N, K) finite numbers; for the last two
        (N,) where K = 1. For an ensemble the same, shared by all, or with a leading axis of E
    weights : (N,) numbers >= 0, s; the loss is then sum(s l) / sum(s), and 0 where all are zero

    Returns
    -------
    loss : a float; of an ensemble the sum of its members' losses (`grads` is its gradient)

    Raises
    ------
    TypeError
        If params are no `Params`, x or y does not hold numbers, or x holds uint8 (see `forward`).
    ValueError
        If shapes disagree, the batch is empty, a label lies outside the output's domain, or a
        weight is negative or not finite.

    Examples
    --------
    >>> from fnnet import init_params
    >>> round(loss(init_params(0, (3, 2)), np.zeros((4, 3)), [0, 1, 1, 0]), 4)  # log 2
    0.6931
    """
    b = arguments.batch(params, x, y, weights)
    return _mean(_losses(params, b), b)


@underflow_is_zero
def losses(
    params: Params, x: npt.ArrayLike, y: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> FloatArray:
    r"""The loss of each sample of a batch.

    .. math::

        \begin{cases}
        -\sum_k Y_k \log P_k & \text{softmax} \\
        -\sum_k (Y_k \log P_k + (1 - Y_k) \log (1 - P_k)) & \text{sigmoid} \\
        \frac{1}{2} \sum_k (Z_k - Y_k)^2 & \text{identity}
        \end{cases}

    Parameters
    ----------
    params, x, y, weights : as `loss`

    Returns
    -------
    losses : (..., N) float array, whose mean over the last axis is the loss of each member; with
        weights s each is s · l · N / sum(s), so that the mean is the weighted loss

    Raises
    ------
    TypeError, ValueError
        As `loss`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> losses(init_params(0, (3, 2), np.float64), np.zeros((2, 3)), [0, 1]).round(4)
    array([0.6931, 0.6931])
    """
    b = arguments.batch(params, x, y, weights)
    each = _losses(params, b)
    return (each if b.s is None else b.s * each * (each.shape[-2] / b.total))[..., 0]


@underflow_is_zero
def grads(
    params: Params, x: npt.ArrayLike, y: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> Params:
    r"""The exact gradient of `loss` with respect to the parameters, equations (5) to (10).

    .. math::

        \frac{∂L}{∂Z} = \frac{1}{N} (P - Y) \tag{5}

        \frac{∂L}{∂W_2} = H^⊤ \frac{∂L}{∂Z} \tag{6}

        \frac{∂L}{∂b_2} = \sum_n \left(\frac{∂L}{∂Z}\right)_n \tag{7}

        \frac{∂L}{∂Z_1} = \left(\frac{∂L}{∂Z} W_2^⊤\right) ⊙ f'(Z_1) \tag{8}

        \frac{∂L}{∂W_1} = X^⊤ \frac{∂L}{∂Z_1} \tag{9}

        \frac{∂L}{∂b_1} = \sum_n \left(\frac{∂L}{∂Z_1}\right)_n \tag{10}

    Here :math:`Z_1 = X W_1 + b_1`. More hidden layers repeat (8) to (10).

    Parameters
    ----------
    params, x, y, weights : as `loss`

    Returns
    -------
    gradient : a tree like `params`, of its shapes and dtype

    Raises
    ------
    TypeError, ValueError
        As `loss`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> grads(init_params(0, (3, 2)), np.zeros((4, 3)), [0, 1, 1, 1]).layers[0].b
    array([ 0.25, -0.25], dtype=float32)
    """
    return _gradients(params, arguments.batch(params, x, y, weights))[0]


@underflow_is_zero
def loss_and_grads(
    params: Params,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    masks: Masks | None = None,
    *,
    weights: npt.ArrayLike | None = None,
) -> tuple[float, Params]:
    """`loss` and `grads` from one forward pass.

    Parameters
    ----------
    params, x, y, weights : as `loss`
    masks : arrays that multiply each layer's inputs, from `dropout_masks`; None for a layer
        without. Loss and gradient are then those of the masked network

    Returns
    -------
    loss : a float, as `loss` returns it
    gradient : a tree like `params`, as `grads` returns it

    Raises
    ------
    TypeError, ValueError
        As `loss`, and for the masks as `forward`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> value, gradient = loss_and_grads(init_params(0, (3, 2)), np.zeros((4, 3)), [0, 1, 1, 1])
    >>> round(value, 4), gradient
    (0.6931, Params(3-2, float32, 8 parameters))
    """
    b = arguments.batch(params, x, y, weights, masks)
    done = forward_pass(params, b.x, b.masks)
    p, losses = output_of(params.output).with_losses(done.logits, b.y)
    return _mean(losses, b), backward_pass(params, done, b.masks, logits_grads(p, b))[0]


@underflow_is_zero
def vjp(params: Params, x: npt.ArrayLike, dz: npt.ArrayLike, masks: Masks | None = None) -> Params:
    """The gradient of any function of the logits whose derivative dL/dZ is given: (6) to (10).

    "Vector-Jacobian product", as JAX calls it. With it a loss of your own takes three lines.

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (N, d) numbers; for an ensemble (N, d), shared by all, or (E, N, d)
    dz : dL/dZ, an array of the shape of forward(params, x)
    masks : as `forward`

    Returns
    -------
    gradient : a tree like `params`, of its shapes and dtype

    Raises
    ------
    TypeError
        As `forward`, or if dz does not hold numbers.
    ValueError
        As `forward`, or if x is a single sample, or dz has another shape than the logits.

    Examples
    --------
    The Huber loss of a network that predicts numbers:

    >>> from fnnet import init_params
    >>> params, x, y = init_params(0, (3, 1), output="identity"), np.ones((4, 3)), np.zeros((4, 1))
    >>> error = forward(params, x) - y
    >>> vjp(params, x, error.clip(-1, 1) / len(x))
    Params(3-1, identity, float32, 4 parameters)
    """
    samples, factors = arguments.masked_inputs(params, arguments.at_least_two_axes(x), masks)
    done = forward_pass(params, samples, factors)
    return backward_pass(params, done, factors, arguments.derivative(dz, done.logits))[0]


@underflow_is_zero
def input_grads(
    params: Params, x: npt.ArrayLike, y: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> FloatArray:
    """The exact gradient of `loss` with respect to the inputs: (8) once more, without [H > 0].

    It shows which inputs matter (saliency), and where to move them to change the answer
    (adversarial examples: Goodfellow, Shlens and Szegedy 2015).

    Parameters
    ----------
    params, x, y, weights : as `loss`

    Returns
    -------
    dx : array of the shape of x; where members of an ensemble share x, the sum over them

    Raises
    ------
    TypeError, ValueError
        As `loss`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> input_grads(init_params(0, (3, 2)), np.zeros((4, 3)), [0, 1, 1, 1]).shape
    (4, 3)
    """
    b = arguments.batch(params, x, y, weights)
    _, dz = _gradients(params, b)
    dx: FloatArray = dz @ params.layers[0].w.mT
    return dx if dx.ndim == b.x.ndim else dx.sum(axis=tuple(range(dx.ndim - b.x.ndim)))


@underflow_is_zero
def predict(params: Params, x: npt.ArrayLike) -> Predictions:
    """The network's answer for each input.

    Parameters
    ----------
    params : the network
    x : (..., N, d) or (d,) numbers, as `forward`

    Returns
    -------
    predictions : for the output "softmax" the most probable classes, (..., N) ints; for "sigmoid" 1
        where a label is more probable than not, else 0, (..., N, K) ints; for "identity" the
        numbers, (..., N, K) floats. A single input (d,) gives one answer, without the axis N

    Raises
    ------
    TypeError, ValueError
        As `forward`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> predict(init_params(0, (3, 2)), np.ones((4, 3))).shape
    (4,)
    """
    z = _logits(params, x)
    if params.output == "identity":
        return z
    return np.asarray(z.argmax(axis=-1) if params.output == "softmax" else (z > 0) * 1, like=z)


@underflow_is_zero
def predict_proba(params: Params, x: npt.ArrayLike) -> FloatArray:
    """The network's P: probabilities, or for the output "identity" the numbers themselves.

    Parameters
    ----------
    params : the network
    x : (..., N, d) or (d,) numbers, as `forward`

    Returns
    -------
    p : (..., N, K) or (K,) array of the parameters' dtype; for "softmax" each row adds up to 1

    Raises
    ------
    TypeError, ValueError
        As `forward`.

    Examples
    --------
    >>> from fnnet import init_params
    >>> predict_proba(init_params(0, (3, 2), np.float64), np.zeros(3))
    array([0.5, 0.5])
    """
    z = _logits(params, x)
    return output_of(params.output).predictions(z)


def forward_pass(params: Params, x: FloatArray, masks: Sequence[FloatArray | None]) -> Pass:
    """Equations (1) and (2), and what they leave for the way back."""
    activation = activation_of(params.activation)
    hs, zs, outputs, product = [_masked(x, masks[0])], [], [], product_of(x, params.layers[0].w)
    for layer, mask in zip(params.layers[:-1], masks[1:], strict=True):
        z = affine(hs[-1], layer, product)
        h = activation.f(z)  # (1)
        zs.append(z if activation.uses_z else h)
        outputs.append(h)
        hs.append(_masked(h, mask))
    return Pass(hs, zs, outputs, affine(hs[-1], params.layers[-1], product))  # (2)


def affine(h: FloatArray, layer: Layer, product: Product = np.matmul) -> FloatArray:
    """H W + b."""
    z = product(h, layer.w)
    z += layer.b[..., None, :]
    return z


def product_of(a: FloatArray, b: FloatArray) -> Product:
    """`dot` for two matrices, which takes half of `matmul`'s time where they are small."""
    matrices = type(a) is type(b) is np.ndarray and a.ndim == b.ndim == 2 and b.dtype.isnative
    return np.ndarray.dot if matrices else np.matmul


def _masked(h: FloatArray, mask: FloatArray | None) -> FloatArray:
    return h if mask is None else h * mask


def _losses(params: Params, b: Batch) -> FloatArray:
    return output_of(params.output).with_losses(forward_pass(params, b.x, b.masks).logits, b.y)[1]


def _mean(losses: FloatArray, b: Batch) -> float:
    return float(weighted(losses, b).sum() / b.total)  # (4)


def weighted(values: FloatArray, b: Batch) -> FloatArray:
    """Values of samples, times the samples' weights."""
    return values if b.s is None else b.s * values


def _gradients(params: Params, b: Batch) -> tuple[Params, FloatArray]:
    """What `backward_pass` returns for the network's own loss, which is not computed itself."""
    done = forward_pass(params, b.x, b.masks)
    p = output_of(params.output).predictions(done.logits)
    return backward_pass(params, done, b.masks, logits_grads(p, b))


def logits_grads(p: FloatArray, b: Batch) -> FloatArray:
    """dL/dZ, of every output."""
    return weighted(p - b.y, b) / b.total  # (5)


def ones_for(dz: FloatArray) -> FloatArray:
    """A one for each sample: the product with dZ is its sum over samples, faster than `sum`."""
    n, ones = dz.shape[-2], ONES.get(dz.dtype)
    if type(dz) is np.ndarray and ones is not None and n <= ones.size:
        return ones[:n]
    return np.ones_like(dz, shape=(n,))


def backward_pass(
    params: Params, done: Pass, masks: Sequence[FloatArray | None], dz: FloatArray
) -> tuple[Params, FloatArray]:
    """The gradient, and dL/dZ of the first layer."""
    df, (vector, layout) = activation_of(params.activation).df, blank(params)
    leaves, ones, product = layout.leaves(vector), ones_for(dz), product_of(dz, params.layers[0].w)
    for i in reversed(range(len(params.layers))):
        dw, db = leaves[2 * i : 2 * i + 2]
        product(done.h[i].mT, dz, out=dw)  # (6) (9)
        product(ones, dz, out=db)  # (7) (10)
        if i:
            # Hidden layer i made the inputs h[i]; its z and a are number i - 1.
            dz = product(dz, params.layers[i].w.mT)
            dz *= df(done.z[i - 1], done.a[i - 1])  # (8)
            dz = _masked(dz, masks[i])
    return freeze(vector, layout), dz
