"""A task's metrics of outputs that are there already, without a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl.losses import TaskGroup
from kmtl.metrics.masked import Reported, TaskMetrics, reported
from kmtl.tasks import Task


def metrics_in(model: Any, task: Task) -> list[Reported]:
    """Returns a task's unweighted metrics: those that a model was compiled with, else its own.

    Args:
        model: A Keras model.
        task: The task.
    """
    compiled = [metric for metric in model.metrics if isinstance(metric, TaskMetrics)]
    if not compiled:
        return reported([task], {task.name: task.metrics}, {})
    rows = [*compiled[0].means, *(row for row, _ in compiled[0].others)]
    mine = [row for row in rows if row.task.name == task.name and not row.weighted]
    return sorted(mine, key=lambda row: compiled[0].keys.index(row.key))


def scores_of_outputs(
    listed: Sequence[Reported], task: Task, labels: Mapping[str, Any], outputs: Any
) -> dict[str, float]:
    """Returns the metrics of one task's outputs by log key.

    Args:
        listed: The metrics; their objects are not counted on.
        task: The task.
        labels: Labels by task name, missing ones included.
        outputs: Of the task, a row an example.
    """
    group = TaskGroup([task], None)
    metrics = TaskMetrics([group], [row._replace(metric=_fresh(row.metric)) for row in listed])
    metrics.update_state([group.examples(labels, {task.name: outputs})])
    return {key: float(value) for key, value in metrics.result().items()}


def _fresh(metric: Any) -> Any:
    """Returns a metric without what was counted so far."""
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric
