"""Networks as scikit-learn has them: for Pipeline, GridSearchCV and cross_val_score.

Functions of fnnet in another library's convention: `fit` is a loop over `weighted_batches` and
`train_step` with Adam, and scikit-learn's own functions check the data. Names and defaults are
those of its MLPClassifier and MLPRegressor, so that grids for one can be searched with the other;
activations are those of `fnnet.init_params`. First weights have Glorot's variance, as theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import fnnet

Array = npt.NDArray[Any]


class Network(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both share: the settings of MLPClassifier, and `state_`, the optimizer after training.

    Parameters
    ----------
    hidden_layer_sizes : widths of the hidden layers
    activation : as `fnnet.init_params` takes it
    alpha : penalty on squared weights, divided by the samples of a batch
    batch_size, learning_rate_init, max_iter : batches, step size of Adam, epochs at most
    tol, n_iter_no_change : training ends where no loss in so many epochs is lower by so much
    early_stopping, validation_fraction : whether that loss is of samples that are held out, and
        their share; the best state is then kept
    random_state : a seed, or a RandomState that draws one
    """

    state_: fnnet.AdamState
    rng_: np.random.Generator

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | fnnet.Activation = "relu",
        *,
        alpha: float = 1e-4,
        batch_size: int = 200,
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.activation, self.alpha = hidden_layer_sizes, activation, alpha
        self.batch_size, self.learning_rate_init = batch_size, learning_rate_init
        self.max_iter, self.tol, self.n_iter_no_change = max_iter, tol, n_iter_no_change
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.random_state = random_state

    def _fit(self, split: fnnet.Split, outputs: int) -> None:
        self._start(split, outputs)
        held_out, losses, best = None, [], self.state_
        if self.early_stopping:
            n = math.ceil(self.validation_fraction * len(split))
            split, held_out = fnnet.hold_out(self.rng_, split, n, stratify=is_classifier(self))
        for _ in range(self.max_iter):
            loss = self._epoch(split)
            if held_out is not None:
                x, y, s = held_out.x, held_out.y, held_out.weights
                loss = fnnet.loss(self.state_.params, x, y, weights=s)
            losses.append(loss)
            best = self.state_ if loss <= min(losses) else best
            if fnnet.stop_early(losses, self.n_iter_no_change, self.tol):
                break
        self.state_ = self.state_ if held_out is None else best
        self.loss_curve_, self.n_iter_ = losses, len(losses)

    def _start(self, split: fnnet.Split, outputs: int) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.rng_ = np.random.default_rng(seed)
        sizes = (split.x.shape[1], *np.ravel(self.hidden_layer_sizes).tolist(), outputs)
        output = "softmax" if is_classifier(self) else "identity"
        kinds: dict[str, Any] = {"activation": self.activation, "output": output}
        params = fnnet.init_params(self.rng_, sizes, split.x.dtype, scheme="glorot", **kinds)
        self.state_ = fnnet.adam_init(params, self.learning_rate_init)

    def _epoch(self, split: fnnet.Split) -> float:
        """One pass over the data; the mean loss of its batches."""

        def gradient(params: fnnet.Params, *batch: Any, **more: Any) -> tuple[float, fnnet.Params]:
            loss, grads = fnnet.loss_and_grads(params, *batch, **more)
            penalty, pull = fnnet.l2_penalty(params, self.alpha / len(batch[0]))
            return loss + penalty, fnnet.tree_map(np.add, grads, pull)

        total = weight = 0.0
        for x, y, s in fnnet.weighted_batches(self.rng_, split, self.batch_size, split.x.dtype):
            self.state_, loss = fnnet.train_step(self.state_, x, y, weights=s, gradient=gradient)
            total, weight = total + loss * float(s.sum()), weight + float(s.sum())
        if not math.isfinite(total):
            raise ValueError("the loss is not finite: standardise X, or lower learning_rate_init")
        return total / weight

    def _inputs(self, X: Any) -> Array:
        check_is_fitted(self)
        x: Array = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return x

    def _split(self, X: Any, y: Any, weights: Any, reset: bool, **more: Any) -> fnnet.Split:
        x, y = validate_data(self, X, y, dtype=(np.float64, np.float32), reset=reset, **more)
        if weights is not None:
            weights = _check_sample_weight(weights, x, dtype=x.dtype, ensure_non_negative=True)
        return fnnet.Split(x, self._labels(y), weights)


class NetworkClassifier(ClassifierMixin, Network):  # type: ignore[misc]
    """A network of softmax and cross-entropy; see `Network` for its parameters."""

    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkClassifier:
        if hasattr(self, "classes_"):
            del self.classes_
        split = self._split(X, y, sample_weight, True)
        self._fit(split, len(self.classes_))
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> NetworkClassifier:
        """One epoch; the first call gets all classes."""
        first = _check_partial_fit_first_call(self, classes)
        split = self._split(X, y, sample_weight, first)
        if first:
            self._start(split, len(self.classes_))
        self._epoch(split)
        return self

    def _labels(self, y: Array) -> Array:
        check_classification_targets(y)
        known, codes = np.unique(y, return_inverse=True)
        if not hasattr(self, "classes_"):
            self.classes_ = known
        new = np.setdiff1d(known, self.classes_)
        if new.size:
            raise ValueError(f"y must hold classes of the first call, got {new[0]!s:.60}")
        places: Array = np.searchsorted(self.classes_, known)[codes]
        return places

    def decision_function(self, X: Any) -> Array:
        """Logits (N, K); of two classes the difference of the second's and the first's."""
        x = self._inputs(X)
        z: Array = fnnet.forward(self.state_.params, x)
        return z[:, 1] - z[:, 0] if z.shape[1] == 2 else z

    def predict_proba(self, X: Any) -> Array:
        x = self._inputs(X)
        return fnnet.predict_proba(self.state_.params, x)

    def predict(self, X: Any) -> Array:
        x = self._inputs(X)
        predicted: Array = self.classes_[fnnet.predict(self.state_.params, x)]
        return predicted


class NetworkRegressor(RegressorMixin, Network):  # type: ignore[misc]
    """A network of numbers and half the squared error; see `Network` for its parameters."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        split = self._split(X, y, sample_weight, True, multi_output=True, y_numeric=True)
        self._fit(split, math.prod(split.y.shape[1:]))
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """One epoch."""
        first = not hasattr(self, "state_")
        split = self._split(X, y, sample_weight, first, multi_output=True, y_numeric=True)
        if first:
            self._start(split, math.prod(split.y.shape[1:]))
        self._epoch(split)
        return self

    def _labels(self, y: Array) -> Array:
        return y

    def predict(self, X: Any) -> Array:
        x = self._inputs(X)
        y = fnnet.predict(self.state_.params, x)
        return y[:, 0] if y.shape[1] == 1 else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
