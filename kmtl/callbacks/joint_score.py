"""One number an epoch for all tasks, which stock callbacks monitor."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from kmtl._checks import Refusals
from kmtl.metrics import check_baselines, delta_m

Scores = Mapping[str, Mapping[str, float]]


class JointScore(keras.callbacks.Callback):
    """Adds a number made of the tasks' metrics and their baselines to the logs; `DeltaM` and `WorstTask` say which.

    Args:
        baselines: `{task: {metric: value}}`.
    """

    adds_logs = True
    log_key: ClassVar[str] = ""

    def __init__(self, baselines: Scores) -> None:
        super().__init__()
        self.baselines = baselines

    def score(self, values: Scores) -> float:
        """The number.

        Args:
            values: `{task: {metric: value}}` of the epoch, of all metrics that have a baseline.
        """
        raise NotImplementedError

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the baselines against the model."""
        del logs
        owner = type(self).__name__
        check_baselines(self.baselines, self.model.tasks, owner)
        known = self.model.metrics_names
        with Refusals(owner) as refusals:
            for name, metrics in self.baselines.items():
                for metric in metrics:
                    if f"{name}_{metric}" not in known:
                        fix = f"Compile it, or choose of {known}."
                        refusals.add("baselines", f"of {name!r} must name compiled metrics", metric, fix)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the score."""
        del epoch
        if logs is None:
            return
        prefix = "val_" if "val_loss" in logs else ""
        values = {
            name: {metric: logs[f"{prefix}{name}_{metric}"] for metric in metrics}
            for name, metrics in self.baselines.items()
        }
        logs[f"{prefix}{self.log_key}"] = self.score(values)


class DeltaM(JointScore):
    """Adds `val_delta_m` to the logs: the change against single-task models in percent, negative is better.

    Without validation data it is `delta_m`, of the training metrics. `fit`
    lets it run before callbacks that monitor it, in whatever order they are given.

    Args:
        baselines: `{task: {metric: value}}` of the single-task models, as
            `kmtl.evidence.compare` returns them.

    Raises:
        ValueError: Before the first step, if a task or metric is unknown or a baseline is 0.

    >>> DeltaM({"digit": {"accuracy": 0.9}}).adds_logs
    True
    """

    log_key: ClassVar[str] = "delta_m"

    def score(self, values: Scores) -> float:
        """Mean change of all metrics, in percent."""
        return delta_m(values, self.baselines, list(self.model.tasks.values()))


class WorstTask(JointScore):
    """Adds `val_worst_task` to the logs: the change of the task that lost most against its baselines, in percent.

        worst_task = max_t delta_m of task t alone

    A mean over tasks can fall while one of them is given up; the worst one cannot. Negative says that every task
    beats its baselines. Without validation data it is `worst_task`, of the training metrics. Any stock callback
    monitors it and needs no `mode`.

    Args:
        baselines: `{task: {metric: value}}`, as `kmtl.evidence.compare(...).baselines` gives them; of a task with
            several metrics their mean change counts. Tasks left out do not count.

    Raises:
        ValueError: Before the first step, if a task or metric is unknown or a baseline is 0.

    >>> WorstTask({"digit": {"accuracy": 0.9}, "angle": {"mae": 4.0}}).log_key
    'worst_task'
    """

    log_key: ClassVar[str] = "worst_task"

    def score(self, values: Scores) -> float:
        """The largest mean change of any task, in percent; NaN if one has NaN."""
        tasks = list(self.model.tasks.values())
        changes = [delta_m(values, {name: metrics}, tasks) for name, metrics in self.baselines.items()]
        # `max` passes over a NaN, or not, by its place.
        return float("nan") if any(change != change for change in changes) else max(changes)
