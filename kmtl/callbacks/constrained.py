"""One metric as good as possible while others keep a bound, as one number an epoch."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import Refusals, is_number
from kmtl.callbacks.monitors import check_monitors


class Constrained(keras.callbacks.Callback):
    """Adds `val_constrained` to the logs: one metric, as long as others keep their bounds; smaller is better.

        constrained = m / (1 + |m|) < 1,            if every bound is kept
        constrained = 1 + sum of the excesses,      if not; an excess is relative to its bound

    with `m` the metric, negated where more is better: an epoch that keeps all bounds beats each that does not, of two
    that keep them the better metric wins, and of two that do not the nearer one. Whether a bound is a least or a
    largest value follows from its metric's better end. Any stock callback monitors it and needs no `mode`. Without
    validation data it is `constrained`, of the training metrics.

    Args:
        metric: Log key of the metric that is to be good, as `"digit_accuracy"`.
        subject_to: `{log key: bound}`, as `{"angle_mae": 4.0}`.

    Raises:
        ValueError: Before the first step, if a key is unknown or a metric's better end is.

    Source: Deb, "An Efficient Constraint Handling Method for Genetic Algorithms", Computer Methods in Applied
    Mechanics and Engineering 186, 2000, for the order of epochs; `kmtl.search.Constrained` has the same score.

    >>> best = Constrained("digit_accuracy", {"angle_mae": 4.0})
    >>> signs = {"digit_accuracy": -1.0, "angle_mae": 1.0}
    >>> round(best.score({"digit_accuracy": 0.6, "angle_mae": 3.9}, signs), 3)
    -0.375
    >>> round(best.score({"digit_accuracy": 0.9, "angle_mae": 5.0}, signs), 3)
    1.25
    """

    adds_logs = True

    def __init__(self, metric: str, subject_to: Mapping[str, float]) -> None:
        super().__init__()
        with Refusals("Constrained") as refusals:
            if not isinstance(metric, str):
                refusals.add("metric", "must be a log key", metric)
            named = isinstance(subject_to, Mapping) and bool(subject_to)
            if not named or not all(isinstance(key, str) and is_number(bound) for key, bound in subject_to.items()):
                refusals.add("subject_to", "must be {log key: finite number}", subject_to)
        self.metric = metric.removeprefix("val_")
        self.subject_to = {key.removeprefix("val_"): float(bound) for key, bound in subject_to.items()}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the metrics against the model."""
        del logs
        with Refusals("Constrained") as refusals:
            self.signs = check_monitors(refusals, "metric", self.model, [self.metric])
            self.signs |= check_monitors(refusals, "subject_to", self.model, self.subject_to)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the score."""
        del epoch
        if logs is not None:
            prefix = "val_" if "val_loss" in logs else ""
            logs[f"{prefix}constrained"] = self.score({key: logs[f"{prefix}{key}"] for key in self.signs}, self.signs)

    def score(self, values: Mapping[str, float], signs: Mapping[str, float]) -> float:
        """The number.

        Args:
            values: The epoch's value of each metric.
            signs: 1 for each metric of which less is better, -1 for the others.

        Returns:
            Below 1 if every bound is kept; NaN if a value is.
        """
        excess = 0.0
        for key, bound in self.subject_to.items():
            worse = signs[key] * (values[key] - bound) / (abs(bound) or 1.0)
            excess += worse if worse != worse or worse > 0 else 0.0
        value = signs[self.metric] * values[self.metric]
        return 1.0 + excess if excess != 0 else value / (1.0 + abs(value))
