"""How the tasks' gradients lie to each other, as logs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import keras
from keras import ops

# With more tasks than this a log line a pair would bury the others.
PAIRS_UP_TO = 6


class ConflictTracker(keras.metrics.Metric):
    """The logs of the tasks' gradients, each the mean over the epoch's steps.

    `<task>_gradient_norm`, in the steps where the task has a gradient;
    `<task>_<other>_cosine` of each pair (up to six tasks); `conflicting_pairs`, the
    share of pairs whose gradients point against each other; `gram_condition`, the
    largest eigenvalue of the cosine matrix over its smallest, at most 1e6; and
    `<task>_excluded`, the number of steps in which a task had a label, but a loss or
    gradient that was not finite.

    Args:
        names: Names of the tasks, in order.
        name: Keras name.

    >>> tracker = ConflictTracker(["digit", "angle"])
    >>> tracker.update_state(ops.array([[4.0, -1.0], [-1.0, 1.0]]), ops.array([True, True]))
    >>> {key: round(float(value), 2) for key, value in tracker.result().items()}["digit_angle_cosine"]
    -0.5
    """

    def __init__(self, names: Sequence[str], *, name: str = "conflicts") -> None:
        super().__init__(name=name, dtype="float32")
        self.names = list(names)
        count = len(self.names)
        self.lengths = self._mean((count,), "lengths")
        self.cosines = self._mean((count, count), "cosines")
        self.share = self._mean((), "share")
        self.condition = self._mean((), "condition")
        self.excluded = self._state((count,), "excluded")

    def _state(self, shape: tuple[int, ...], name: str) -> Any:
        """A variable that every replica keeps alike: the Gramian is global."""
        return self.add_variable(shape, initializer="zeros", aggregation="only_first_replica", name=name)

    def _mean(self, shape: tuple[int, ...], name: str) -> tuple[Any, Any]:
        """Total and count of a mean."""
        return self._state(shape, f"{name}_total"), self._state(shape, f"{name}_count")

    def keys(self) -> list[str]:
        """The keys of the logs."""
        return list(self.result())

    def update_state(self, gram: Any, present: Any) -> None:
        """Adds a step.

        Args:
            gram: Inner products of the tasks' gradients, `(K, K)`; NaN throughout in a step that took none.
            present: Which tasks have a label, `(K,)`.
        """
        squares = ops.diagonal(gram)
        taken = ~ops.all(ops.isnan(gram))
        finite = present & ops.isfinite(squares)
        there = finite & (ops.where(finite, squares, 0.0) > 0)
        lengths = ops.where(there, ops.sqrt(ops.where(there, squares, 1.0)), 1.0)
        pairs = there[:, None] & there[None, :]
        cosines = ops.where(pairs, ops.clip(gram / lengths[:, None] / lengths[None, :], -1.0, 1.0), 0.0)
        _add(self.lengths, lengths, there)
        _add(self.cosines, cosines, pairs)
        self._add_pairs(cosines, pairs)
        self.excluded.assign_add(ops.cast(present & ~ops.isfinite(squares) & taken, "float32"))

    def _add_pairs(self, cosines: Any, pairs: Any) -> None:
        """Adds the share of conflicts and the condition."""
        identity = ops.eye(len(self.names))
        others = pairs & (identity == 0)
        number = ops.sum(ops.cast(others, "float32"))
        conflicts = ops.sum(ops.cast(others & (cosines < 0), "float32"))
        _add(self.share, conflicts / ops.maximum(number, 1.0), number > 0)
        values = ops.linalg.eigh(ops.where(identity > 0, 1.0, cosines))[0]
        condition = ops.max(values) / ops.maximum(ops.min(values), 1e-6 * ops.max(values))
        _add(self.condition, condition, number > 0)

    def result(self) -> dict[str, Any]:
        """The logs; NaN for what no step of the epoch could tell."""
        lengths, cosines = _result(self.lengths), _result(self.cosines)
        logs = {f"{name}_gradient_norm": lengths[place] for place, name in enumerate(self.names)}
        if len(self.names) <= PAIRS_UP_TO:
            for one, other in combinations(range(len(self.names)), 2):
                logs[f"{self.names[one]}_{self.names[other]}_cosine"] = cosines[one, other]
        logs["conflicting_pairs"] = _result(self.share)
        logs["gram_condition"] = _result(self.condition)
        logs.update({f"{name}_excluded": self.excluded[place] for place, name in enumerate(self.names)})
        return logs


def _add(mean: tuple[Any, Any], value: Any, counted: Any) -> None:
    """Adds a value where it counts."""
    total, count = mean
    total.assign_add(ops.where(counted, value, 0.0))
    count.assign_add(ops.cast(counted, "float32"))


def _result(mean: tuple[Any, Any]) -> Any:
    """The mean; NaN without a value."""
    total, count = mean
    return ops.where(count > 0, total / ops.maximum(count, 1.0), float("nan"))
