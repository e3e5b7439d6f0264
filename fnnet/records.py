"""What a run reports: how a network does on a split, a row of history, the record of an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic

import numpy as np
import numpy.typing as npt

from fnnet.checks import described
from fnnet.optimizers.states import StateT
from fnnet.randomness import GeneratorState


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Evaluation:
    """How a network does on a split.

    Attributes
    ----------
    loss : mean loss of the samples, or their weighted mean where the split has weights
    accuracy : share of samples that are right, in [0, 1]: whose most probable class is theirs, or,
        of several labels, all of whose labels are predicted; NaN for numbers
    confusion : counts, row = true class, column = predicted class: (K, K); of several labels
        (K, 2, 2), one for each, as scikit-learn's `multilabel_confusion_matrix`; None for numbers,
        and above 4,096 classes. Weights do not count here
    r2 : coefficient of determination of each of the K numbers, averaged, as scikit-learn's
        `r2_score`; NaN for classes and labels, and of a single sample
    members : of an ensemble one evaluation for each member; the figures above are means over
        those that have not diverged, whose loss is finite, or over all if none is
    """

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.intp] | None
    r2: float = math.nan
    members: tuple[Evaluation, ...] = ()

    def __repr__(self) -> str:
        shown = [f"loss {self.loss:.4g}"]
        shown += [] if math.isnan(self.accuracy) else [f"accuracy {self.accuracy:.4f}"]
        shown += [] if math.isnan(self.r2) else [f"r2 {self.r2:.4f}"]
        shown += [] if self.confusion is None else [f"confusion {described(self.confusion)}"]
        shown += [f"{len(self.members)} members"] if self.members else []
        return f"Evaluation({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Metrics:
    """One row of a run's history.

    Attributes
    ----------
    epoch : number of the epoch, from 1
    train_loss, train_accuracy : on the training split, with the parameters after the epoch
    test_loss, test_accuracy : on the split given as test; NaN where none was given
    seconds : time spent training in this epoch, evaluation excluded
    train_r2, test_r2 : coefficients of determination, for a network that predicts numbers; else NaN
    members : of an ensemble the metrics of each member; the figures above are means over those that
        have not diverged, as `Evaluation` has them
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    train_r2: float = math.nan
    test_r2: float = math.nan
    members: tuple[Metrics, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Epoch(Generic[StateT]):
    """What `train` yields after each epoch: all that it takes to go on from there, bit for bit.

    Attributes
    ----------
    state : the optimizer after the epoch
    metrics : see `Metrics`
    rng : the generator's state after the epoch, by value: give it to `train` or to a `Checkpoint`
    """

    state: StateT
    metrics: Metrics
    rng: GeneratorState

    def __repr__(self) -> str:
        m = self.metrics
        shown = [f"epoch {m.epoch}", f"train loss {m.train_loss:.4g}"]
        shown += [] if math.isnan(m.test_loss) else [f"test loss {m.test_loss:.4g}"]
        shown += [] if math.isnan(m.test_accuracy) else [f"test accuracy {m.test_accuracy:.4f}"]
        shown += [] if math.isnan(m.test_r2) else [f"test r2 {m.test_r2:.4f}"]
        return f"Epoch({', '.join(shown)}, {type(self.state).__name__}({self.state.params!r}))"
