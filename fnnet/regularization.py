"""Regularization: functions against overfitting, to be composed into the training loop.

Dropout and label smoothing belong in the `gradient` of `train`, clipping and weight decay in its
`update`. Whatever draws random numbers should draw from the generator that `train` is given:

    rng = np.random.default_rng(0)

    def gradient(params, x, y):
        return loss_and_grads(params, x, y, dropout_masks(rng, params, len(x), (0, 0.2, 0.2)))

    def update(state, grads):
        state = dataclasses.replace(state, params=decay_weights(state.params, 1e-5))
        return adam_update(state, clip_by_global_norm(grads, 1.0))

    train(state, data.train, rng=rng, epochs=20, gradient=gradient, update=update)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.checks import (
    LONGEST_AXIS,
    FloatArray,
    as_array,
    check_not_negative,
    check_share,
    is_number,
    items_of,
    underflow_is_zero,
    whole_number,
)
from fnnet.labels import Labels, label_rows
from fnnet.optimizers.schedules import LARGEST_EXPONENT
from fnnet.optimizers.states import check_setting
from fnnet.optimizers.steps import each_rate
from fnnet.params import Params
from fnnet.randomness import Seed, generator
from fnnet.trees import empty, flat, freeze, same_structure, tree_leaves, tree_map

SMALL = 2.0**-600  # brings every float64 where its square is one, too


def dropout_masks(
    rng: Seed, params: Params, n: int, rates: Sequence[float]
) -> tuple[FloatArray | None, ...]:
    """Masks that switch off inputs and hidden units at random, for `loss_and_grads`.

    Inverted dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, with the
    scaling moved from test to training): what stays is divided by its probability to stay, so that
    `forward` needs no change.

    Parameters
    ----------
    rng : generator, which advances, or a seed
    params : the network, or an ensemble, each member of which gets masks of its own
    n : samples in the batch, >= 1
    rates : probability in [0, 1) to be switched off, for each layer's inputs: those of the network
        first, then each hidden layer

    Returns
    -------
    masks : for each layer an (n, inputs) array of the parameters' kind and dtype, None where the
        rate is 0

    Raises
    ------
    ValueError
        If there is not one rate for each layer, a rate lies outside [0, 1), or n is below 1.

    Examples
    --------
    >>> from fnnet import init_params
    >>> masks = dropout_masks(0, init_params(0, (4, 3, 2)), 5, (0, 0.5))
    >>> print(masks[0], masks[1].shape, sorted(set(masks[1].ravel().tolist())))
    None (5, 3) [0.0, 2.0]
    """
    arguments.check_network(params)
    rng = generator(rng)
    n = whole_number("n", n, 1, LONGEST_AXIS)
    shares = items_of("rates", rates, "numbers") if np.iterable(rates) else ()
    if len(shares) != len(params.layers):
        raise ValueError(
            f"rates must be one for each of {len(params.layers)} layers, got {rates!r:.99}"
        )
    shares = tuple(check_share("rates", rate) for rate in shares)
    weights = [layer.w for layer in params.layers]
    return tuple(
        _mask(rng, (*w.shape[:-2], n, w.shape[-2]), rate, w) if rate else None
        for w, rate in zip(weights, shares, strict=True)
    )


def _mask(
    rng: np.random.Generator, shape: tuple[int, ...], rate: float, like: FloatArray
) -> FloatArray:
    mask: FloatArray = (rng.random(shape, np.float32) >= rate).astype(like.dtype)
    mask *= 1 / (1 - rate)
    return np.asarray(mask, like=like)


@underflow_is_zero
def smooth_labels(y: Labels, classes: int, amount: float) -> npt.NDArray[np.floating[Any]]:
    r"""Labels mixed with the uniform distribution: (1 - amount) y + amount / classes.

    .. math::

        Y_{nk} ← (1 - a) Y_{nk} + \frac{a}{K}

    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), section 7.

    Parameters
    ----------
    y : (N,) int classes, or (N, K) float distributions
    classes : number of classes, K
    amount : in [0, 1]

    Returns
    -------
    y : (N, K) float distributions, float64 if y held classes, else of y's dtype

    Raises
    ------
    TypeError, ValueError
        If y holds no labels of so many classes, or the amount lies outside [0, 1].

    Examples
    --------
    >>> smooth_labels(np.array([2, 0]), 4, 0.2)
    array([[0.05, 0.05, 0.85, 0.05],
           [0.85, 0.05, 0.05, 0.05]])
    """
    classes = whole_number("classes", classes, 1, LONGEST_AXIS)
    if not (is_number(amount) and 0 <= amount <= 1):
        raise ValueError(f"amount must lie in [0, 1], got {amount!r:.99}")
    y = as_array("y", y)
    if y.size == 0 or y.ndim not in (1, 2):
        raise ValueError(f"y must be (N,) classes or (N, K) distributions, got shape {y.shape}")
    like = np.zeros((), y.dtype if y.dtype.kind == "f" else np.float64)
    rows = label_rows("softmax", y, (len(y), classes), np.asarray(like, like=y))
    return rows * (1 - float(amount)) + float(amount) / classes


@underflow_is_zero
def decay_weights(params: Params, amount: float | FloatArray) -> Params:
    """Weights drawn towards zero, w ← (1 - amount) w; biases stay.

    Decoupled weight decay (Loshchilov and Hutter 2019): what AdamW does before each step with
    amount = learning rate · weight decay. For gradient descent, and for it alone, it is an L2
    penalty.

    Parameters
    ----------
    params : the network, or an ensemble
    amount : in [0, 1]; for an ensemble perhaps one for each member, an (E,) array

    Returns
    -------
    params : a tree of the same shapes and dtype

    Raises
    ------
    ValueError
        If an amount lies outside [0, 1], or they are not as many as members.

    Examples
    --------
    >>> from fnnet import Layer
    >>> decayed = decay_weights(Params((Layer(np.array([[2.0], [4.0]]), np.ones(1)),)), 0.25)
    >>> decayed.layers[0].w.tolist(), decayed.layers[0].b.tolist()
    ([[1.5], [3.0]], [1.0])
    """
    arguments.check_network(params)
    check_setting("amount", amount, 0, math.nextafter(1, 2), params, "[0, 1]")
    vector, layout = flat(params)
    keep = 1 - each_rate(amount, params, layout)
    decayed = empty(layout.size, vector)
    decayed[...] = vector
    for start, stop, _ in layout.parts[::2]:  # weights; biases lie between them
        decayed[start:stop] *= keep if isinstance(keep, float) else keep[start:stop]
    return freeze(decayed, layout)


@underflow_is_zero
def l2_penalty(params: Params, strength: float) -> tuple[float, Params]:
    r"""Half of a strength times the sum of squared weights, and its gradient; biases are spared.

    .. math::

        \frac{λ}{2} \sum_{w ∈ W} w^2

    Add it to what `loss_and_grads` returns. scikit-learn's `alpha` is divided by the samples of the
    batch: strength = alpha / N.

    Parameters
    ----------
    params : the network, or an ensemble, whose members' penalties are added up
    strength : >= 0

    Returns
    -------
    penalty : a float
    gradient : a tree like `params`: strength times the weights, zeros for biases

    Raises
    ------
    ValueError
        If the strength is not a finite number >= 0.

    Examples
    --------
    >>> from fnnet import Layer
    >>> penalty, gradient = l2_penalty(Params((Layer(np.array([[3.0], [4.0]]), np.ones(1)),)), 0.1)
    >>> penalty, gradient.layers[0].b.tolist()
    (1.25, [0.0])
    """
    arguments.check_network(params)
    strength = check_not_negative("strength", strength)
    vector, layout = flat(params)
    gradient = empty(layout.size, vector)
    np.multiply(vector, strength, gradient)
    total = 0.0
    for i, leaf in enumerate(layout.leaves(gradient)):
        if i % 2:
            leaf[...] = 0
        else:
            with np.errstate(over="ignore"):  # a penalty too large for floats is infinite
                total += float((leaf * params.layers[i // 2].w).sum(dtype=np.float64))
    return total / 2, freeze(gradient, layout)


@underflow_is_zero
def clip_by_global_norm(grads: Params, bound: float) -> Params:
    """The gradient, scaled down where its norm is above a bound.

    Pascanu, Mikolov and Bengio (2013). The norm is that of all leaves together; in an ensemble each
    member has its own.

    Parameters
    ----------
    grads : the gradient
    bound : the largest norm to leave as it is, >= 0

    Returns
    -------
    grads : a tree of the same shapes and dtype; the gradient itself where nothing is scaled

    Raises
    ------
    TypeError
        If `grads` is no gradient.
    ValueError
        If the bound is not a finite number >= 0.

    Examples
    --------
    >>> from fnnet import Layer
    >>> steep = Params((Layer(np.array([[3.0], [4.0]]), np.zeros(1)),))
    >>> clip_by_global_norm(steep, 1.0).layers[0].w.round(3).tolist()
    [[0.6], [0.8]]
    """
    check_not_negative("bound", bound)
    arguments.check_tree("grads", grads)
    arguments.check_network(grads)
    leading = grads.layers[0].w.ndim - 2
    with np.errstate(over="ignore"):
        norm = _norm(grads, leading)
    if not np.all(norm < math.inf):  # perhaps only the squares are too large
        small = tree_map(lambda leaf: leaf.astype(np.float64) * SMALL, grads)
        norm = np.where(norm < math.inf, norm, _norm(small, leading) / SMALL)
    if np.all(norm <= bound):
        return grads
    factor = np.where(norm > bound, bound / np.where(norm > 0, norm, 1), 1)

    def scale(leaf: FloatArray) -> FloatArray:
        scaled: FloatArray = leaf * factor.reshape(factor.shape + (1,) * (leaf.ndim - leading))
        return scaled.astype(leaf.dtype)

    return tree_map(scale, grads)


def _norm(tree: Params, leading: int) -> FloatArray:
    norm: FloatArray = np.sqrt(
        sum(
            np.square(leaf.astype(np.float64)).sum(axis=tuple(range(leading, leaf.ndim)))
            for leaf in tree_leaves(tree)
        )
    )
    return norm


@underflow_is_zero
def moving_average(
    average: Params, params: Params, decay: float, step: int | None = None
) -> Params:
    """Exponential moving average of parameters: decay · average + (1 - decay) · params.

    Polyak and Juditsky (1992) average all steps alike; this forgets the first ones. Evaluate the
    average, go on training the parameters.

    Parameters
    ----------
    average : the average so far; before the first step the parameters themselves
    params : the parameters after a step
    decay : weight of the old average, in [0, 1)
    step : number of the step, from 1; if given, the bias towards the start is corrected as in Adam:
        the average is that from zeros on, divided by 1 - decay**step

    Returns
    -------
    average : the average after the step, a tree like `params`

    Raises
    ------
    TypeError
        If `average` or `params` is no tree of parameters.
    ValueError
        If the trees differ in structure, the decay lies outside [0, 1) or the step is below 1.

    Examples
    --------
    >>> from fnnet import Layer
    >>> zeros, ones = (Params((Layer(np.full((2, 1), n), np.full(1, n)),)) for n in (0.0, 1.0))
    >>> moving_average(zeros, ones, 0.9).layers[0].b.round(3)
    array([0.1])
    """
    check_share("decay", decay)
    arguments.check_tree("average", average)
    arguments.check_network(params)
    if not same_structure(average, params):
        raise ValueError("average must have the structure and shapes of params")
    keep = float(decay)
    if step is not None:
        step = min(whole_number("step", step, 1), LARGEST_EXPONENT)
        keep *= (1 - keep ** (step - 1)) / (1 - keep**step)
    (old, layout), (new, _) = flat(average), flat(params)
    mean = empty(layout.size, old)
    np.subtract(old, new, mean)
    mean *= keep  # rounded alone: keep and 1 - keep, both rounded, would not add up to 1
    mean += new
    return freeze(mean, layout)


def stop_early(losses: Sequence[float], patience: int, least: float = 0.0) -> bool:
    """Whether the last epochs have brought no progress, so that a loop should break.

    Prechelt (1998). Ask it after each epoch, and keep the best record yourself.

    Parameters
    ----------
    losses : of a validation split after each epoch, or any other number to be made small; one that
        is not a number counts as no progress
    patience : number of epochs to wait for progress, >= 1
    least : progress is a loss lower than that of the last progress by more than this, >= 0
        (Keras and PyTorch Lightning call it min_delta)

    Returns
    -------
    stop : whether the last `patience` losses brought no progress

    Raises
    ------
    ValueError
        If `patience` is below 1 or `least` below 0, or no loss is a number, as those that `train`
        reports where no test split was given.
    TypeError
        If a loss is not even NaN.

    Examples
    --------
    >>> stop_early([0.9, 0.5, 0.6, 0.7], patience=2)
    True
    >>> stop_early([0.9, 0.5, 0.6, 0.4], patience=2)
    False

    In a loop:

    >>> from fnnet import hold_out, init_params, load_digits, rmsprop_init, train
    >>> part, held_out = hold_out(0, load_digits().train, 300)
    >>> state, records = rmsprop_init(init_params(0, (64, 32, 10)), 0.02), []
    >>> for record in train(state, part, held_out, rng=0, epochs=50):
    ...     records.append(record)
    ...     if stop_early([each.metrics.test_loss for each in records], patience=3):
    ...         break
    >>> best = min(records, key=lambda each: each.metrics.test_loss)
    >>> best.metrics.epoch == records[-1].metrics.epoch - 3
    True
    """
    whole_number("patience", patience, 1)
    check_not_negative("least", least)
    try:
        losses = [float(loss) for loss in losses]
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"losses must be a sequence of numbers, got {losses!r:.99}: write "
            "stop_early([record.metrics.test_loss for record in records], patience)"
        ) from None
    if losses and all(map(math.isnan, losses)):
        raise ValueError("losses must be those of a split that is evaluated, got NaN alone")
    best, progress = math.inf, 1
    for epoch, loss in enumerate(losses, 1):
        if loss < best - least:
            best, progress = loss, epoch
    return len(losses) - progress >= patience
