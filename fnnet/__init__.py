"""fnnet: feed-forward neural networks as pure functions over NumPy arrays.

The modules, from the ground up; each imports only from those before it (`tests/test_house.py`):

- plain values: `checks`, `randomness`, `trees` (trees of arrays in one vector)
- the network: `activations`, `outputs`, `labels`, `params`, `arguments` (every check of an
  argument), `network` (equations 1 to 10)
- learning: `optimizers` (11 and 12 in `optimizers.rmsprop`), `regularization`
- `data`: splits and batches, data sets, downloads, distortions
- `records`, `evaluation`, `storage` (files, checkpoints)
- loops: `divergence` (numbers that are not finite), `ragged` (an epoch that skips zeros),
  `training`
- what few need at once: `curvature`, `plots`, `pictures`, `exports`, `interop` (JAX)
"""

# ruff: noqa: I001, RUF022  # the order of the README's table, not the alphabet's
# fmt: off

from importlib import import_module
from typing import TYPE_CHECKING

from fnnet.params import Layer, Params, init_params
from fnnet.activations import Activation
from fnnet.network import forward, softmax, log_softmax, cross_entropy
from fnnet.network import loss, losses, grads, loss_and_grads, vjp, input_grads
from fnnet.network import predict, predict_proba
from fnnet.optimizers.rmsprop import RMSPropState, rmsprop_init, rmsprop_update
from fnnet.optimizers.sgd import SGDState, sgd_init, sgd_update
from fnnet.optimizers.adam import AdamState, adam_init, adam_update
from fnnet.optimizers.states import OptimizerState, first_state, register, update, within
from fnnet.optimizers.steps import step_by_blocks
from fnnet.optimizers import schedules as schedules
from fnnet.randomness import GeneratorState
from fnnet.data.splits import Dataset, Split, as_inputs, batches
from fnnet.data.splits import class_weights, hold_out, weighted_batches
from fnnet.trees import tree_allclose, tree_equal, tree_leaves, tree_map, tree_ravel

if TYPE_CHECKING:
    from fnnet.records import Epoch, Evaluation, Metrics
    from fnnet.evaluation import evaluate
    from fnnet.ragged import Prepared, prepare, train_epoch
    from fnnet.divergence import DivergenceError
    from fnnet.training import train, train_step
    from fnnet.regularization import clip_by_global_norm, decay_weights, dropout_masks, l2_penalty
    from fnnet.regularization import moving_average, smooth_labels, stop_early
    from fnnet.curvature import check_grads, gauss_newton_vector, hessian_vector, layer_inputs
    from fnnet.data.distortions import distort
    from fnnet.storage.archives import CheckpointError
    from fnnet.storage.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
    from fnnet.data.datasets import DownloadError, load_dataset, load_digits
    from fnnet.data.datasets import load_fashion_mnist, load_kmnist, load_mnist
    from fnnet.data.idx import IDXError, map_idx, read_idx, write_idx
    from fnnet.interop import register_jax

__version__ = "0.2.0"

__all__ = [
    "Layer", "Params", "init_params", "Activation",
    "forward", "softmax", "log_softmax", "cross_entropy",
    "loss", "losses", "grads", "loss_and_grads", "vjp", "input_grads",
    "predict", "predict_proba",
    "RMSPropState", "rmsprop_init", "rmsprop_update",
    "SGDState", "sgd_init", "sgd_update",
    "AdamState", "adam_init", "adam_update",
    "OptimizerState", "first_state", "register", "update", "within", "step_by_blocks",
    "GeneratorState",
    "Dataset", "Split", "as_inputs", "batches", "class_weights", "hold_out", "weighted_batches",
    "Epoch", "Evaluation", "Metrics", "evaluate",
    "DivergenceError", "train", "train_step", "Prepared", "prepare", "train_epoch",
    "clip_by_global_norm", "decay_weights", "dropout_masks", "l2_penalty",
    "moving_average", "smooth_labels", "stop_early",
    "layer_inputs", "hessian_vector", "gauss_newton_vector", "check_grads",
    "distort",
    "CheckpointError", "Checkpoint", "load_checkpoint", "save_checkpoint",
    "DownloadError", "load_dataset", "load_digits",
    "load_fashion_mnist", "load_kmnist", "load_mnist",
    "IDXError", "map_idx", "read_idx", "write_idx",
    "tree_allclose", "tree_equal", "tree_leaves", "tree_map", "tree_ravel",
    "register_jax",
]

# What goes beyond networks, gradients, optimizers and batches is imported when a name of it is
# first asked for: files and downloads need half of the standard library. So `import fnnet` takes
# 1.3 times as long as `import numpy`; with all names it would take 1.9 times as long.
_LATER = {
    "fnnet.records": ("Epoch", "Evaluation", "Metrics"),
    "fnnet.evaluation": ("evaluate",),
    "fnnet.ragged": ("Prepared", "prepare", "train_epoch"),
    "fnnet.divergence": ("DivergenceError",),
    "fnnet.training": ("train", "train_step"),
    "fnnet.regularization": (
        "clip_by_global_norm", "decay_weights", "dropout_masks", "l2_penalty",
        "moving_average", "smooth_labels", "stop_early",
    ),
    "fnnet.curvature": (
        "check_grads", "gauss_newton_vector", "hessian_vector", "layer_inputs",
    ),
    "fnnet.data.distortions": ("distort",),
    "fnnet.storage.archives": ("CheckpointError",),
    "fnnet.storage.checkpoints": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "fnnet.data.datasets": (
        "DownloadError", "load_dataset", "load_digits",
        "load_fashion_mnist", "load_kmnist", "load_mnist",
    ),
    "fnnet.data.idx": ("IDXError", "map_idx", "read_idx", "write_idx"),
    "fnnet.interop": ("register_jax",),
}

if not TYPE_CHECKING:  # else a type checker would believe in any name at all

    def __getattr__(name):
        for module, names in _LATER.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        hint = f": write import fnnet.{name}" if name in ("exports", "pictures", "plots") else ""
        raise AttributeError(f"module 'fnnet' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
