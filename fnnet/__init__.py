"""fnnet: feed-forward neural networks as pure functions over NumPy arrays."""

from importlib import import_module
from typing import TYPE_CHECKING

from fnnet.data.splits import Dataset, Split, as_inputs, batches, hold_out
from fnnet.network import (
    Layer,
    Params,
    cross_entropy,
    forward,
    grads,
    init_params,
    log_softmax,
    loss,
    loss_and_grads,
    predict,
    predict_proba,
    softmax,
)
from fnnet.optimizers import schedules as schedules
from fnnet.optimizers.adam import AdamState, adam_init, adam_update
from fnnet.optimizers.rmsprop import RMSPropState, rmsprop_init, rmsprop_update
from fnnet.optimizers.sgd import SGDState, sgd_init, sgd_update
from fnnet.training import (
    DivergenceError,
    Epoch,
    Evaluation,
    Metrics,
    evaluate,
    train,
    train_step,
)
from fnnet.trees import tree_allclose, tree_equal, tree_leaves, tree_map, tree_ravel

if TYPE_CHECKING:
    from fnnet.data.datasets import (
        DownloadError,
        load_dataset,
        load_digits,
        load_fashion_mnist,
        load_kmnist,
        load_mnist,
    )
    from fnnet.data.distortions import distort
    from fnnet.data.idx import IDXError, read_idx, write_idx
    from fnnet.interop import register_jax
    from fnnet.regularization import (
        clip_by_global_norm,
        decay_weights,
        dropout_masks,
        moving_average,
        smooth_labels,
        stop_early,
    )
    from fnnet.storage.checkpoints import (
        Checkpoint,
        CheckpointError,
        load_checkpoint,
        save_checkpoint,
    )

__all__ = [  # noqa: RUF022  # the order of the README's table, not the alphabet's
    "Layer",
    "Params",
    "init_params",
    "forward",
    "softmax",
    "log_softmax",
    "cross_entropy",
    "loss",
    "grads",
    "loss_and_grads",
    "predict",
    "predict_proba",
    "rmsprop_init",
    "rmsprop_update",
    "RMSPropState",
    "sgd_init",
    "sgd_update",
    "adam_init",
    "adam_update",
    "SGDState",
    "AdamState",
    "batches",
    "hold_out",
    "as_inputs",
    "train_step",
    "train",
    "Epoch",
    "Metrics",
    "DivergenceError",
    "dropout_masks",
    "smooth_labels",
    "clip_by_global_norm",
    "decay_weights",
    "moving_average",
    "stop_early",
    "distort",
    "evaluate",
    "Evaluation",
    "save_checkpoint",
    "load_checkpoint",
    "Checkpoint",
    "CheckpointError",
    "load_digits",
    "load_mnist",
    "load_fashion_mnist",
    "load_kmnist",
    "load_dataset",
    "Dataset",
    "Split",
    "DownloadError",
    "read_idx",
    "write_idx",
    "IDXError",
    "tree_map",
    "tree_leaves",
    "tree_ravel",
    "tree_equal",
    "tree_allclose",
    "register_jax",
]

# Files and downloads need half the standard library: what needs them is imported when first asked
# for, so that `import fnnet` costs little more than `import numpy`.
_LAZY = {
    "storage.checkpoints": ("Checkpoint", "CheckpointError", "load_checkpoint", "save_checkpoint"),
    "data.datasets": (
        "DownloadError",
        "load_dataset",
        "load_digits",
        "load_fashion_mnist",
        "load_kmnist",
        "load_mnist",
    ),
    "data.distortions": ("distort",),
    "data.idx": ("IDXError", "read_idx", "write_idx"),
    "interop": ("register_jax",),
    "regularization": (
        "clip_by_global_norm",
        "decay_weights",
        "dropout_masks",
        "moving_average",
        "smooth_labels",
        "stop_early",
    ),
}


if not TYPE_CHECKING:  # else a type checker would believe in any name at all

    def __getattr__(name):
        for module, names in _LAZY.items():
            if name in names:
                return getattr(import_module(f"fnnet.{module}"), name)
        raise AttributeError(f"module 'fnnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *(name for names in _LAZY.values() for name in names)]
