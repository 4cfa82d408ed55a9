"""Metrics of each task over the examples that carry its label."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from kmtl._checks import Refusals, near, refusal
from kmtl._keras_private import metric_function
from kmtl.losses import Examples, TaskGroup
from kmtl.tasks import Task
from kmtl.tasks.metric_directions import metric_name
from kmtl.tasks.shapes import known_shape

# Metrics that look at one element of a label at a time; all others see whole vectors.
_ELEMENTWISE = frozenset(
    {keras.metrics.MeanAbsoluteError, keras.metrics.MeanSquaredError, keras.metrics.RootMeanSquaredError}
    | {keras.metrics.MeanAbsolutePercentageError, keras.metrics.MeanSquaredLogarithmicError}
    | {keras.metrics.LogCoshError, keras.metrics.BinaryAccuracy, keras.metrics.BinaryCrossentropy}
    | {keras.metrics.AUC, keras.metrics.Precision, keras.metrics.Recall}
    | {keras.metrics.TruePositives, keras.metrics.TrueNegatives}
    | {keras.metrics.FalsePositives, keras.metrics.FalseNegatives}
    | {keras.metrics.PrecisionAtRecall, keras.metrics.RecallAtPrecision}
    | {keras.metrics.SensitivityAtSpecificity, keras.metrics.SpecificityAtSensitivity}
)
_ELEMENTWISE_FUNCTIONS = frozenset(
    {keras.metrics.mean_absolute_error, keras.metrics.mean_squared_error, keras.metrics.binary_accuracy}
    | {keras.metrics.mean_absolute_percentage_error, keras.metrics.mean_squared_logarithmic_error}
    | {keras.metrics.binary_crossentropy, keras.losses.huber, keras.metrics.log_cosh}
)


class Reported(NamedTuple):
    """One metric of one task.

    Attributes:
        task: Whose it is.
        key: Its name in the logs.
        metric: What `compile` or the task gave: a name or a Keras metric.
        weighted: Whether sample weights count.
    """

    task: Task
    key: str
    metric: Any
    weighted: bool


def reported(
    tasks: Sequence[Task], metrics: Mapping[str, Sequence[Any]], weighted: Mapping[str, Sequence[Any]]
) -> list[Reported]:
    """Lists every metric to report, in task order, under its log key.

    As in Keras, a weighted metric is named `weighted_...` only where the same
    one is reported unweighted too.

    Raises:
        ValueError: If two share a log key.
    """
    rows = []
    for task in tasks:
        plain = [metric_name(item) for item in metrics.get(task.name, ())]
        rows += [Reported(task, f"{task.name}_{metric_name(m)}", m, False) for m in metrics.get(task.name, ())]
        for item in weighted.get(task.name, ()):
            prefix = "weighted_" if metric_name(item) in plain else ""
            rows.append(Reported(task, f"{task.name}_{prefix}{metric_name(item)}", item, True))
    _check_keys(tasks, rows)
    return rows


def _check_keys(tasks: Sequence[Task], rows: Sequence[Reported]) -> None:
    """Refuses metrics whose values would overwrite each other, or a task's loss, in the logs."""
    seen = {f"{task.name}_{part}" for task in tasks for part in ("loss", "weight")} | {"loss", "regularization"}
    with Refusals("compile") as refusals:
        for row in rows:
            if row.key in seen:
                refusals.add("metrics", "must have a log key of their own; twice", row.key, "Give it another `name`.")
            seen.add(row.key)


def resolve(task: Task, metric: Any) -> Any:
    """Returns a fresh or given Keras metric object for a task.

    `"accuracy"` means what the kind of task makes of it.

    Raises:
        ValueError: If Keras knows no such metric; the task is named.
    """
    own = task.own_metric(metric) if isinstance(metric, str) else None
    if own is not None:
        return own
    try:
        found = keras.metrics.get(metric)
    except (ValueError, TypeError) as error:
        fix = near(str(metric), [*task.mean_metrics, *task.default_metrics])
        raise ValueError(refusal(task.owner, "metrics", "must be Keras metrics", metric, fix)) from error
    if not isinstance(found, keras.metrics.Metric):
        found = keras.metrics.MeanMetricWrapper(found, name=metric_name(metric))
    return found


class TaskMetrics(keras.metrics.Metric):
    """All metrics of all tasks, each over the examples that carry its label.

    Metrics that look at one element at a time, as `"mae"` or AUC, pool the
    elements of a vector label that are there; a metric of whole vectors, as
    cosine similarity or a function of the user's own, sees the labels whose
    every element is there. Of a task on a map or a sequence each pixel or token is a
    label; a metric whose attribute `whole_examples` is True sees whole examples instead: labels with the task's
    missing value where there is none, outputs, and a weight a place. A metric of a task that no example was labelled
    for is NaN, not 0.

    Args:
        groups: The tasks as the losses group them.
        rows: What to report.
        name: Keras name.
    """

    def __init__(self, groups: Sequence[TaskGroup], rows: Sequence[Reported], name: str = "task_metrics") -> None:
        super().__init__(name=name, dtype="float32")
        self.groups = list(groups)
        self.means = [row for row in rows if self._mean(row) is not None]
        self.others = [(row, resolve(row.task, row.metric)) for row in rows if self._mean(row) is None]
        self.keys = [row.key for row in rows]
        size = len(self.means) + len(self.others)
        self.total = self.add_variable((max(size, 1),), initializer="zeros", name="total")
        self.count = self.add_variable((max(size, 1),), initializer="zeros", name="count")
        self.places = {row.key: place for place, row in enumerate([*self.means, *(row for row, _ in self.others)])}
        if self.others:
            self._make_variables()

    def _make_variables(self) -> None:
        """Lets metrics that make their variables in the first batch, as F1, make them now: a backup must find them."""
        tasks = [task for group in self.groups for task in group.tasks]
        shapes = {task.name: (known_shape(task.label_shape), known_shape(task.output_shape)) for task in tasks}
        labels = {task.name: ops.zeros((1, *shapes[task.name][0]), dtype=task.label_dtype) for task in tasks}
        outputs = {name: ops.zeros((1, *shape)) for name, (_, shape) in shapes.items()}
        with keras.StatelessScope():
            self.update_state([group.examples(labels, outputs) for group in self.groups])

    @staticmethod
    def _mean(row: Reported) -> Any:
        """The function whose mean the metric is, or None; see `kmtl.tasks.Task.mean_metrics`."""
        return _whole(row) or (row.task.mean_metrics.get(row.metric) if isinstance(row.metric, str) else None)

    def update_state(self, examples: Sequence[Examples]) -> None:
        """Adds a batch.

        Args:
            examples: What each group looks at, in the order of the groups.
        """
        parts: dict[str, tuple[Any, Any]] = {}
        for group, seen in zip(self.groups, examples, strict=True):
            parts.update(self._group_means(group, seen))
            parts.update(self._group_others(group, seen))
        if parts:
            keys = sorted(parts, key=lambda key: self.places[key])
            self.total.assign_add(ops.stack([parts[key][0] for key in keys]))
            self.count.assign_add(ops.stack([parts[key][1] for key in keys]))

    def _group_means(self, group: TaskGroup, seen: Examples) -> dict[str, tuple[Any, Any]]:
        """Sums and counts of a group's mean metrics, by key; one call serves alike tasks."""
        calls: dict[tuple[Any, bool, bool], dict[str, str]] = {}
        for row in self.means:
            if row.task.name in group.names:
                form = (self._mean(row), row.weighted, _whole(row) is not None)
                calls.setdefault(form, {})[row.task.name] = row.key
        parts = {}
        for (function, weighted, whole), keys in calls.items():
            totals, counts = map(ops.unstack, _masked_sums(group, function, seen, weighted=weighted, whole=whole))
            places = [group.names.index(name) for name in keys]
            parts.update({key: (totals[p], counts[p]) for key, p in zip(keys.values(), places, strict=True)})
        return parts

    def _group_others(self, group: TaskGroup, seen: Examples) -> dict[str, tuple[Any, Any]]:
        """Updates the Keras metrics of a group's tasks; their counts tell whether anything was labelled."""
        parts = {}
        for row, metric in self.others:
            if row.task.name in group.names:
                truth, outputs, mask = _of_task(group, seen, row, metric)
                metric.update_state(truth, outputs, sample_weight=mask)
                parts[row.key] = (ops.zeros(()), ops.sum(mask))
        return parts

    def result(self) -> dict[str, Any]:
        """The value of every metric, under its log key."""
        means = ops.where(self.count > 0, self.total / ops.where(self.count > 0, self.count, 1.0), float("nan"))
        each = ops.unstack(means)
        values = {row.key: each[self.places[row.key]] for row in self.means}
        counts = ops.unstack(self.count) if self.others else []
        for row, metric in self.others:
            values[row.key] = ops.where(counts[self.places[row.key]] > 0, metric.result(), float("nan"))
        return {key: values[key] for key in self.keys}

    def reset_state(self) -> None:
        """Starts a new epoch."""
        super().reset_state()
        for _, metric in self.others:
            metric.reset_state()


def _element_weights(seen: Examples, *, weighted: bool) -> Any:
    """What each element of the labels counts: 0 where missing, else 1 or the sample weight."""
    mask = ops.cast(seen.present, "float32")
    if not weighted or seen.weight is None:
        return mask
    weight = ops.where(ops.isnan(seen.weight), ops.zeros_like(seen.weight), seen.weight)
    for _ in range(len(mask.shape) - len(weight.shape)):
        weight = ops.expand_dims(weight, -1)
    return mask * weight


def _whole(row: Reported) -> Any:
    """A metric's function of labels and whole outputs, where the kind has one by its name."""
    return row.task.metric_of_outputs(row.metric) if isinstance(row.metric, str) else None


def _masked_sums(group: TaskGroup, function: Any, seen: Examples, *, weighted: bool, whole: bool) -> tuple[Any, Any]:
    """Sums and counts of a function of each element that is there, `(G,)` each."""
    mask = _element_weights(seen, weighted=weighted)
    labels, outputs = seen.labels, seen.predictions if whole else group.first.metric_outputs(seen.predictions)
    if not whole and len(labels.shape) == len(outputs.shape):
        labels, outputs = ops.expand_dims(labels, -1), ops.expand_dims(outputs, -1)
    # Keras's accuracies keep the last axis and its errors average over it: of size 1, it may be either.
    values = ops.reshape(ops.cast(function(labels, outputs), "float32"), ops.shape(mask)) * mask
    return _summed(group, values), _summed(group, mask)


def _summed(group: TaskGroup, values: Any) -> Any:
    """Sums over all axes but the group's, `(G,)`, the elements of each label first."""
    axes = tuple(range(1 if len(group.tasks) == 1 else 2, len(values.shape)))
    for axis in reversed(axes):
        values = ops.sum(values, axis=axis)
    return ops.reshape(ops.sum(values, axis=0), (-1,))


def _is_elementwise(metric: Any) -> bool:
    """Whether a Keras metric looks at one element at a time, so that missing ones can be left out of a vector."""
    known = type(metric) in _ELEMENTWISE or metric_function(metric) in _ELEMENTWISE_FUNCTIONS
    return known and not getattr(metric, "multi_label", False)


def _of_task(group: TaskGroup, seen: Examples, row: Reported, metric: Any) -> tuple[Any, Any, Any]:
    """One task's labels, predictions and weights as a Keras metric takes them: one row an element, a label, or more."""
    mask = _element_weights(seen, weighted=row.weighted)
    whole = getattr(metric, "whole_examples", False)
    labels = ops.where(seen.present, seen.labels, row.task.missing) if whole else seen.labels
    tensors = [labels, row.task.metric_outputs(seen.predictions), mask]
    if len(group.tasks) > 1:
        place = group.names.index(row.task.name)
        tensors = [tensor[:, place] for tensor in tensors]
    truth, outputs, mask = tensors
    if whole:
        return truth, outputs, mask
    # Pixels and tokens become rows.
    for _ in range(row.task.dense_axes):
        truth, outputs, mask = (_rows(tensor) for tensor in (truth, outputs, mask))
    if len(truth.shape) != len(outputs.shape):
        return row.task.labels_for(metric, truth), outputs, mask
    if _is_elementwise(metric):
        return ops.reshape(truth, (-1, 1)), ops.reshape(outputs, (-1, 1)), ops.reshape(mask, (-1,))
    return truth, outputs, ops.min(mask, axis=tuple(range(1, len(mask.shape))))


def _rows(tensor: Any) -> Any:
    """Merges the first two axes."""
    shape = ops.shape(tensor)
    return ops.reshape(tensor, (shape[0] * shape[1], *shape[2:]))
