"""Callbacks over several tasks: moving loss weights, the joint score, per-class reports."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, refusal, words
from kmtl.metrics import ClassificationReport, check_baselines, delta_m


class LossWeightScheduler(keras.callbacks.Callback):
    """Moves the loss weights during training, without recompiling.

    The weights are part of the saved model, so a run that resumes at
    `initial_epoch` goes on with the schedule where it stood.

    Args:
        schedule: A function of `(epoch, weights)` that returns `{task: weight}`
            for the tasks it changes, or a dict of such by task: each a function
            of the epoch or a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        ValueError: Before the first step, if a name is unknown or the first weights are not valid.

    >>> halve = LossWeightScheduler({"angle": lambda epoch: 0.5**epoch})
    >>> halve.weights_at(2, {"digit": 1.0, "angle": 1.0})
    {'angle': 0.25}
    """

    def __init__(self, schedule: Callable[[int, dict[str, float]], Mapping[str, float]] | Mapping[str, Any]) -> None:
        super().__init__()
        if not callable(schedule) and not isinstance(schedule, Mapping):
            rule = "must be a function of (epoch, weights) or a dict of functions by task"
            raise TypeError(refusal("LossWeightScheduler", "schedule", rule, schedule))
        self.schedule = schedule

    def weights_at(self, epoch: int, weights: dict[str, float]) -> dict[str, float]:
        """The weights that the schedule sets at an epoch, given those before it."""
        if isinstance(self.schedule, Mapping):
            return {name: float(function(epoch)) for name, function in self.schedule.items()}
        return dict(self.schedule(epoch, weights))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the weights of the epoch."""
        del logs
        self.model.set_loss_weights(self.weights_at(epoch, self.model.loss_weights))


class DeltaM(keras.callbacks.Callback):
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

    adds_logs = True

    def __init__(self, baselines: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__()
        self.baselines = baselines

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the baselines against the model."""
        del logs
        check_baselines(self.baselines, self.model.tasks, "DeltaM")
        known = self.model.metrics_names
        with Refusals("DeltaM") as refusals:
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
        logs[f"{prefix}delta_m"] = delta_m(values, self.baselines, list(self.model.tasks.values()))


class ClassificationReports(keras.callbacks.Callback):
    """Reports every classification task's classes after each epoch.

    Args:
        data: A dataset of `(x, {task: label})` batches, or a tuple `(x, {task: labels})`.
        verbose: Whether the reports are printed.

    Attributes:
        reports: One dict a finished epoch, `{task: ClassificationReport}`.
    """

    def __init__(self, data: Any, *, verbose: bool = True) -> None:
        super().__init__()
        self.data = data
        self.verbose = verbose
        self.reports: list[dict[str, ClassificationReport]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses a model without a classification."""
        del logs
        if not self._tasks():
            got = words(f"{list(self.model.tasks)}, all regressions")
            raise ValueError(refusal("ClassificationReports", "model", "must have a classification task", got))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes, keeps and prints the reports."""
        del logs
        labels, predictions = self._collected()
        found = {name: labels[name] for name in self._tasks() if name in labels and (labels[name] >= 0).any()}
        reports = {
            name: ClassificationReport(self.model.tasks[name], truth, predictions[name])
            for name, truth in found.items()
        }
        self.reports.append(reports)
        if self.verbose:
            for report in reports.values():
                print(f"\nEpoch {epoch + 1}: {report}")

    def _tasks(self) -> list[str]:
        """Names of the classification tasks."""
        return [name for name, task in self.model.tasks.items() if task.kind != "regression"]

    def _collected(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Labels and predictions batch by batch, so that a dataset that reshuffles stays aligned."""
        batches = [self.data] if isinstance(self.data, tuple) else self.data
        labels: dict[str, list[Any]] = {}
        outputs: dict[str, list[Any]] = {}
        for batch in batches:
            # An array of the user's is one batch to us, but many to the model.
            in_memory = isinstance(self.data, tuple)
            predicted = self.model.predict(batch[0], verbose=0) if in_memory else self.model.predict_on_batch(batch[0])
            for name, label in batch[1].items():
                labels.setdefault(name, []).append(np.asarray(label))
                outputs.setdefault(name, []).append(np.asarray(predicted[name]))
        join = np.concatenate
        return {name: join(parts) for name, parts in labels.items()}, {n: join(parts) for n, parts in outputs.items()}
