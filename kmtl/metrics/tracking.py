"""The logs of the losses: parts that add up to the whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


class TaskLossTracker(keras.metrics.Metric):
    """The logs of the losses: `loss`, `<task>_loss`, `<task>_weight`.

    Each task's loss is the mean over its labelled examples of the whole epoch,
    each weight the mean of what multiplied them, and `loss` is the sum of their
    products plus `regularization` and what other losses there are, so that the parts add up whatever the size
    of the last batch and however the weights moved.

    Args:
        names: Names of the tasks, in order.
        regularized: Whether the model has penalties or added losses.
        extra: Log keys of losses that belong to no task.
        name: Keras name.
    """

    def __init__(
        self, names: Sequence[str], *, regularized: bool = False, extra: Sequence[str] = (), name: str = "task_losses"
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.names = list(names)
        self.regularized = regularized
        self.extra = list(extra)
        shape = (len(self.names),)
        self.total = self.add_variable(shape, initializer="zeros", name="total")
        self.count = self.add_variable(shape, initializer="zeros", name="count")
        self.weight = self.add_variable(shape, initializer="zeros", name="weight")
        self.penalty = self.add_variable((), initializer="zeros", name="penalty")
        self.extras = self.add_variable((len(self.extra),), initializer="zeros", name="extras") if extra else None
        # Each replica brings its part of the penalty, and all of them make one step.
        self.steps = self.add_variable((), initializer="zeros", aggregation="only_first_replica", name="steps")

    def update_state(
        self, sums: Any, counts: Any, weights: Any, regularization: Any = 0.0, extras: Mapping[str, Any] | None = None
    ) -> None:
        """Adds a batch.

        Args:
            sums: Summed loss of each task, `(K,)`.
            counts: Labelled examples of each task, `(K,)`.
            weights: What multiplied each task's mean, `(K,)`.
            regularization: Penalties and added losses of the batch; a replica's part of them.
            extras: Losses that belong to no task, by log key; a replica's part of each.
        """
        self.total.assign_add(sums)
        self.count.assign_add(counts)
        self.weight.assign_add(counts * weights)
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
        # One operation for all tasks; an index each would be four.
        for end, values in (("loss", losses), ("weight", weights)):
            logs.update(zip([f"{name}_{end}" for name in self.names], ops.unstack(values), strict=True))
        return logs
