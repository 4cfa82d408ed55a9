"""The logs of the losses: parts that add up to the whole."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


class TaskLossTracker(keras.metrics.Metric):
    """The logs of the losses: `loss`, `<task>_loss`, `<task>_weight`.

    Each task's loss is the mean over its labelled examples of the whole epoch,
    each weight the mean of what multiplied them, and `loss` is the sum of their
    products plus `regularization` and what other losses there are, so that the parts add up whatever the size
    of the last batch and however the weights moved.

    Args:
        names: Names of the tasks, in order, and of the losses over several of them.
        regularized: Whether the model has penalties or added losses.
        extra: Log keys of losses that belong to no task.
        parts: Task and name of each of several losses of one task.
        tasks: How many of the names, from the first on, are of tasks; None for all.
        name: Keras name.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        regularized: bool = False,
        extra: Sequence[str] = (),
        parts: Sequence[tuple[str, str]] = (),
        tasks: int | None = None,
        name: str = "task_losses",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.names = list(names)
        self.regularized = regularized
        self.extra = list(extra)
        shape = (len(self.names),)
        self.total = self.add_variable(shape, initializer="zeros", name="total")
        self.count = self.add_variable(shape, initializer="zeros", name="count")
        self.weight = self.add_variable(shape, initializer="zeros", name="weight")
        # Labels of an evaluation that no label of their task can be.
        self.impossible = self.add_variable((tasks or len(self.names),), initializer="zeros", name="impossible")
        self.penalty = self.add_variable((), initializer="zeros", name="penalty")
        self.extras = self.add_variable((len(self.extra),), initializer="zeros", name="extras") if extra else None
        self.parts = list(parts)
        self.owners = [self.names.index(task) for task, _ in self.parts]
        self.part = self.add_variable((len(self.parts),), initializer="zeros", name="part") if parts else None
        # Each replica brings its part of the penalty, and all of them make one step.
        self.steps = self.add_variable((), initializer="zeros", aggregation="only_first_replica", name="steps")

    def update_state(
        self,
        sums: Any,
        counts: Any,
        weights: Any,
        regularization: Any = 0.0,
        extras: Mapping[str, Any] | None = None,
        parts: Any = None,
    ) -> None:
        """Adds a batch.

        Args:
            sums: Summed loss of each task, `(K,)`.
            counts: Labelled examples of each task, `(K,)`.
            weights: What multiplied each task's mean, `(K,)`.
            regularization: Penalties and added losses of the batch; a replica's part of them.
            extras: Losses that belong to no task, by log key; a replica's part of each.
            parts: Sum of each of several losses of one task, `(P,)`.
        """
        self.total.assign_add(sums)
        self.count.assign_add(counts)
        self.weight.assign_add(counts * weights)
        if self.part is not None:
            # A task that is not counted sat out.
            there = ops.take(counts, self.owners) > 0
            self.part.assign_add(ops.where(there, parts, 0.0))
        if self.regularized:
            self.penalty.assign_add(ops.cast(regularization, "float32"))
        if self.extras is not None and extras:
            self.extras.assign_add(ops.stack([ops.cast(extras[key], "float32") for key in self.extra]))
        if self.regularized or extras:
            self.steps.assign_add(1.0)

    def result(self) -> dict[str, Any]:
        """The logs. A task that nothing was labelled for has NaN, and no part in `loss`."""
        seen = self.count > 0
        count = ops.where(seen, self.count, 1.0)
        losses = ops.where(seen, self.total / count, float("nan"))
        weights = ops.where(seen, self.weight / count, float("nan"))
        logs = {"loss": ops.sum(ops.where(seen, weights * losses, 0.0))}
        whole = ops.maximum(self.steps, 1.0)
        unbalanced = {"regularization": self.penalty / whole} if self.regularized else {}
        if self.extras is not None:
            unbalanced.update(zip(self.extra, ops.unstack(self.extras / whole), strict=True))
        for key, value in unbalanced.items():
            logs[key] = value
            logs["loss"] = logs["loss"] + value
        logs.update({f"{name}_loss": value for name, value in zip(self.names, ops.unstack(losses), strict=True)})
        if self.part is not None:
            parts = ops.where(ops.take(seen, self.owners), self.part / ops.take(count, self.owners), float("nan"))
            logs.update({f"{task}_{part}_loss": parts[place] for place, (task, part) in enumerate(self.parts)})
        logs.update({f"{name}_weight": value for name, value in zip(self.names, ops.unstack(weights), strict=True)})
        return logs


def without_empty_loss(logs: Mapping[str, Any], names: Collection[str], needed: Iterable[str] = ()) -> dict[str, Any]:
    """Returns logs at their end, whose `loss` is NaN where it stands for no task, or lacks one that is needed.

    A sum without terms is 0, which a callback would take for the best of all.

    Args:
        logs: The logs.
        names: Names of the tasks; one of them must have a loss.
        needed: Names of tasks that must have one.

    >>> without_empty_loss({"loss": 0.0, "age_loss": float("nan")}, ["age"])["loss"]
    nan
    """
    empty = {name for name in names if f"{name}_loss" in logs and np.isnan(logs[f"{name}_loss"])}
    spoilt = len(empty) == len(names) or not empty.isdisjoint(needed)
    return {**logs, "loss": float("nan")} if spoilt else dict(logs)
