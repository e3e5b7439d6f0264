"""The way in: parameters from what scikit-learn, PyTorch and Keras trained.

None of them is imported: what they give is read by its attributes and turned into arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.activations import Activation
from fnnet.checks import as_array, instance_of, items_of
from fnnet.params import Layer, Params
from fnnet.trees import frozen

SKLEARN = {"logistic": "sigmoid"}  # what scikit-learn calls by another name than fnnet


def from_sklearn(model: Any) -> Params:
    """The network of a fitted `MLPClassifier` or `MLPRegressor` of scikit-learn.

    Parameters
    ----------
    model : the estimator; its ``coefs_``, ``intercepts_``, ``activation`` and ``out_activation_``
        are read. A classifier of two classes has one logit, output "sigmoid"

    Returns
    -------
    params : in the dtype that the model was fitted in

    Raises
    ------
    TypeError
        If the model has no such attributes: it is not fitted, or no network.

    Examples
    --------
    >>> params = from_sklearn(MLPClassifier().fit(x, y))  # doctest: +SKIP
    >>> fnnet.predict(params, x) == y  # doctest: +SKIP
    """
    try:
        weights, biases = model.coefs_, model.intercepts_
        activation, output = model.activation, model.out_activation_
    except AttributeError as error:
        raise TypeError(f"model must be a fitted network of scikit-learn: {error}") from None
    pairs = list(zip(weights, biases, strict=True))
    return _network(
        "model", pairs, SKLEARN.get(activation, activation), SKLEARN.get(output, output)
    )


def from_torch(
    state_dict: Mapping[str, Any], activation: str | Activation = "relu", output: str = "softmax"
) -> Params:
    """The network of a `state_dict` of PyTorch that holds linear layers alone.

    Parameters
    ----------
    state_dict : names with tensors, in the order of the layers: "0.weight", "0.bias" and so on, on
        any device. Weights are (outputs, inputs), as PyTorch has them; a layer without bias has
        zeros
    activation, output : what stands between the layers, and what the logits mean, which the
        tensors do not say; as `fnnet.init_params` takes them. `torch.nn.GELU` is "gelu"

    Returns
    -------
    params : in the tensors' dtype; half precision becomes float32

    Raises
    ------
    TypeError
        If this is no dictionary of arrays of real numbers.
    ValueError
        If it holds anything but weights and biases of linear layers, or these do not fit.

    Examples
    --------
    >>> params = from_torch(torch.load("net.pt", weights_only=True))  # doctest: +SKIP
    """
    if not isinstance(state_dict, Mapping):
        got = type(state_dict).__name__
        hint = ": write model.state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise TypeError(f"state_dict must be a dictionary of tensors by names, got {got}{hint}")
    arrays = []
    for name, tensor in state_dict.items():
        instance_of(str, "each name of state_dict", name)
        kind, array = name.rpartition(".")[2], _from_tensor(name, tensor)
        if (kind, array.ndim) not in (("weight", 2), ("bias", 1)):
            raise ValueError(
                f"state_dict must hold weights and biases of linear layers alone, "
                f"got {name!r} of shape {array.shape}"
            )
        arrays.append(array.T)
    return _network("state_dict", _pairs("state_dict", arrays), activation, output)


def from_keras(
    weights: Sequence[Any], activation: str | Activation = "relu", output: str = "softmax"
) -> Params:
    """The network of the weights of a Keras model that holds dense layers alone.

    Parameters
    ----------
    weights : what ``model.get_weights()`` returns: kernels (inputs, outputs), each followed by its
        bias where it has one
    activation, output : as `from_torch`. Keras's ``"gelu"`` is exact, as fnnet's; its
        ``"leaky_relu"`` has the slope 0.2 and fnnet's 0.01

    Returns
    -------
    params : in the weights' dtype; half precision becomes float32

    Raises
    ------
    TypeError
        If this is no sequence of arrays of real numbers.
    ValueError
        If it holds anything but weights and biases of dense layers, or these do not fit.

    Examples
    --------
    >>> params = from_keras(model.get_weights())  # doctest: +SKIP
    """
    arrays = [as_array("weights", array) for array in items_of("weights", weights, "arrays")]
    for array in arrays:
        if array.ndim not in (1, 2):
            raise ValueError(
                f"weights must be those of dense layers alone, got an array of shape {array.shape}"
            )
    return _network("weights", _pairs("weights", arrays), activation, output)


def _from_tensor(name: str, tensor: Any) -> npt.NDArray[Any]:
    if not hasattr(tensor, "detach"):
        return as_array(name, tensor)
    tensor = tensor.detach().cpu()
    return np.asarray(tensor if tensor.element_size() > 2 else tensor.float())  # NumPy has no bf16


def _pairs(name: str, arrays: Sequence[npt.NDArray[Any]]) -> list[tuple[Any, Any]]:
    """Weights with the biases that follow them, or zeros."""
    pairs: list[tuple[Any, Any]] = []
    complete = True
    for array in arrays:
        if array.ndim == 2:
            pairs.append((array, np.zeros(array.shape[1], array.dtype)))
        elif complete:
            raise ValueError(f"{name} must have a matrix before each bias, got {array.shape}")
        else:
            pairs[-1] = (pairs[-1][0], array)
        complete = array.ndim == 1
    return pairs


def _network(
    name: str, pairs: Sequence[tuple[Any, Any]], activation: str | Activation, output: str
) -> Params:
    if not pairs:
        raise ValueError(f"{name} must hold at least one layer, got none")
    for array in (array for pair in pairs for array in pair):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold arrays of real numbers, got dtype {array.dtype}")
    kind = np.result_type(np.float32, *(array for pair in pairs for array in pair))
    layers = tuple(
        Layer(*(np.ascontiguousarray(array, dtype=kind) for array in pair)) for pair in pairs
    )
    params = Params(layers, activation, output)
    arguments.finite_network(params)
    return frozen(params)
