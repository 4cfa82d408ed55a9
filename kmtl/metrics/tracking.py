"""The logs of the losses: parts that add up to the whole."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class TaskLossTracker(keras.metrics.Metric):
    """The logs of the losses: `loss`, `<task>_loss`, `<task>_weight`.

    Each task's loss is the mean over its labelled examples of the whole epoch,
    each weight the mean of what multiplied them, and `loss` is the sum of their
    products plus `regularization`, so that the parts add up whatever the size
    of the last batch and however the weights moved.

    Args:
        names: Names of the tasks, in order.
        regularized: Whether the model has penalties or added losses.
        name: Keras name.
    """

    def __init__(self, names: Sequence[str], *, regularized: bool = False, name: str = "task_losses") -> None:
        super().__init__(name=name, dtype="float32")
        self.names = list(names)
        self.regularized = regularized
        shape = (len(self.names),)
        self.total = self.add_variable(shape, initializer="zeros", name="total")
        self.count = self.add_variable(shape, initializer="zeros", name="count")
        self.weight = self.add_variable(shape, initializer="zeros", name="weight")
        self.penalty = self.add_variable((), initializer="zeros", name="penalty")
        # Each replica brings its part of the penalty, and all of them make one step.
        self.steps = self.add_variable((), initializer="zeros", aggregation="only_first_replica", name="steps")

    def update_state(self, sums: Any, counts: Any, weights: Any, regularization: Any = 0.0) -> None:
        """Adds a batch.

        Args:
            sums: Summed loss of each task, `(K,)`.
            counts: Labelled examples of each task, `(K,)`.
            weights: What multiplied each task's mean, `(K,)`.
            regularization: Penalties and added losses of the batch; a replica's part of them.
        """
        self.total.assign_add(sums)
        self.count.assign_add(counts)
        self.weight.assign_add(counts * weights)
        if self.regularized:
            self.penalty.assign_add(ops.cast(regularization, "float32"))
            self.steps.assign_add(1.0)

    def result(self) -> dict[str, Any]:
        """The logs. A task that nothing was labelled for has NaN, and no part in `loss`."""
        seen = self.count > 0
        count = ops.where(seen, self.count, 1.0)
        losses = ops.where(seen, self.total / count, float("nan"))
        weights = ops.where(seen, self.weight / count, float("nan"))
        logs = {"loss": ops.sum(ops.where(seen, weights * losses, 0.0))}
        if self.regularized:
            logs["regularization"] = self.penalty / ops.maximum(self.steps, 1.0)
            logs["loss"] = logs["loss"] + logs["regularization"]
        logs.update({f"{name}_loss": losses[place] for place, name in enumerate(self.names)})
        logs.update({f"{name}_weight": weights[place] for place, name in enumerate(self.names)})
        return logs
