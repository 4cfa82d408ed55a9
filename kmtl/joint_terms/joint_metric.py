"""Metrics over the outputs of several tasks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import near, refusal, require
from kmtl.joint_terms.joint_term import JointTerm


@keras.saving.register_keras_serializable(package="kmtl")
class JointMetric(JointTerm):
    """A metric over the outputs of several tasks: the mean of a function over the rows that count.

    `compile(joint_metrics=[...])` takes it; it is logged under its name, in `fit` and in `evaluate`, as the mean over
    all batches and replicas; NaN where no row counted. Sample weights do not weigh it.

    Args:
        name: Its name in the logs.
        fn: As for `JointTerm`: `fn(labels, outputs)` returns one value an example, `(batch,)`.
        tasks: Names of the tasks whose outputs it takes.
        needs_labels: As for `JointTerm`.
        partial: As for `JointTerm`.
        better: `"max"` or `"min"`: which end is better, so that a callback that monitors it needs no mode.

    Raises:
        ValueError: If an argument is not fit.

    >>> @keras.saving.register_keras_serializable("pets")
    ... def both_right(labels, outputs):
    ...     return ops.all([ops.argmax(outputs[name], -1) == labels[name] for name in labels], axis=0)
    >>> metric = JointMetric("both_right", both_right, ["species", "breed"], better="max")
    >>> metric.direction("val_both_right")
    'max'
    """

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        tasks: Sequence[str],
        *,
        needs_labels: bool | Sequence[str] = True,
        partial: bool = False,
        better: str | None = None,
    ) -> None:
        super().__init__(name, fn, tasks, needs_labels=needs_labels, partial=partial)
        known = better in (None, "min", "max")
        require(known, self.owner, "better", "must be 'min', 'max' or None", better, near(str(better), ["min", "max"]))
        self.better = better

    def direction(self, key: str) -> str:
        """Tells whether more is better.

        Args:
            key: Its log key.

        Raises:
            ValueError: If it was not told.
        """
        if self.better is None:
            fix = "Give it `better='min'` or `better='max'`, or the callback a `mode`."
            raise ValueError(refusal(self.owner, "direction", "needs a metric whose better end is known", key, fix))
        return self.better

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "better": self.better}


class JointMetricTracker(keras.metrics.Metric):
    """The logs of the joint metrics: each the mean over the rows that counted, NaN without any.

    Args:
        names: Names of the metrics, in order.
        name: Keras name.

    >>> tracker = JointMetricTracker(["both_right"])
    >>> tracker.update_state(ops.array([3.0]), ops.array([4.0]))
    >>> float(tracker.result()["both_right"])
    0.75
    """

    def __init__(self, names: Sequence[str], *, name: str = "joint_metrics") -> None:
        super().__init__(name=name, dtype="float32")
        self.names = list(names)
        self.total = self.add_variable((len(self.names),), initializer="zeros", name="total")
        self.count = self.add_variable((len(self.names),), initializer="zeros", name="count")

    def update_state(self, sums: Any, counts: Any) -> None:
        """Adds a batch.

        Args:
            sums: Summed values of each metric, `(M,)`.
            counts: Rows that counted, `(M,)`.
        """
        self.total.assign_add(sums)
        self.count.assign_add(counts)

    def result(self) -> dict[str, Any]:
        """The logs."""
        seen = self.count > 0
        means = ops.where(seen, self.total / ops.where(seen, self.count, 1.0), float("nan"))
        return {name: means[place] for place, name in enumerate(self.names)}
