"""What the training loop raises where numbers stop being finite, and how it finds out."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass

import numpy as np
import numpy.typing as npt

from fnnet.data.splits import Split
from fnnet.labels import nan_in_data
from fnnet.optimizers.states import State
from fnnet.params import Params
from fnnet.trees import tree_leaves


class DivergenceError(ArithmeticError):
    """A loss or an update is no longer finite.

    The message names the epoch, the batch, the epoch whose record is the last good one, and what to
    change before you go on from there; so do the attributes `epoch`, `batch`, `last_good` and
    `remedy`.
    """

    what: str
    epoch: int
    batch: int
    last_good: int
    remedy: str

    def __init__(
        self, what: str, epoch: int, batch: int, remedy: str = "a smaller learning rate"
    ) -> None:
        self.what, self.epoch, self.batch, self.last_good = what, epoch, batch, epoch - 1
        self.remedy = remedy
        first = "the state that you started from"
        good = first if epoch == 1 else f"the state after epoch {epoch - 1}"
        super().__init__(
            f"{what} in epoch {epoch}, batch {batch}: {good} is the last good one; "
            f"go on from there with {remedy}"
        )

    def __reduce__(self) -> tuple[type, tuple[str, int, int, str]]:
        return type(self), (self.what, self.epoch, self.batch, self.remedy)


def check_loss(
    loss: float, before: State, after: State, data: Split, epoch: int, batch: int
) -> None:
    """Raise where a batch's loss is not finite, unless members of an ensemble go on."""
    if math.isfinite(loss):
        return
    if before.params.layers[0].w.ndim > 2 and _finite_members(after.params).any():
        return
    # A bad update is seen in the loss of the next batch: the one to name is the batch before.
    if not _finite_members(before.params).any():
        raise _bad_update(before, data, epoch, batch - 1)
    raise _diverged(f"the loss was {loss}", data, epoch, batch)


def check_losses(
    losses: npt.NDArray[np.float64], before: State, after: State, data: Split, epoch: int
) -> None:
    """As `check_loss`, for all batches of an epoch, between whose steps nobody has looked."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size:
        return
    batch = int(bad[0])
    if batch and getattr(before, "eps", None) == 0:
        raise _bad_update(before, data, epoch, batch)
    check_loss(float(losses[batch]), before, after, data, epoch, batch + 1)


def check_state(state: State, data: Split, epoch: int, batch: int) -> None:
    """Raise where no member has finite parameters, or finite numbers in what is remembered."""
    if not _finite_members(state.params).any():
        raise _bad_update(state, data, epoch, batch)
    for name, tree in _trees(state).items():
        # Squares overflow before gradients do.
        if not _finite_members(tree).any():
            raise DivergenceError(f"{name} of the optimizer were not finite", epoch, batch)


def _bad_update(state: State, data: Split, epoch: int, batch: int) -> DivergenceError:
    if getattr(state, "eps", None) == 0:  # where a gradient was always 0 the step is 0 / 0
        return DivergenceError("an update without eps was not finite", epoch, batch, "eps above 0")
    return _diverged("an update was not finite", data, epoch, batch)


def _diverged(what: str, data: Split, epoch: int, batch: int) -> DivergenceError:
    missing = nan_in_data(data.x, data.y)
    if missing is None:
        return DivergenceError(what, epoch, batch)
    return DivergenceError(f"{missing}: {what}", epoch, batch, "data without it")


def _finite_members(tree: Params) -> npt.NDArray[np.bool_]:
    """Whether each member of an ensemble is finite; of one network an array without axes."""
    leading = tree.layers[0].w.ndim - 2
    leaves = tree_leaves(tree)
    each = [np.isfinite(leaf).all(axis=tuple(range(leading, leaf.ndim))) for leaf in leaves]
    return np.asarray(np.logical_and.reduce(each))


def _trees(state: object) -> dict[str, Params]:
    names = [field.name for field in fields(state)] if is_dataclass(state) else []
    trees = {name: getattr(state, name) for name in names}
    return {name: tree for name, tree in trees.items() if isinstance(tree, Params)}
