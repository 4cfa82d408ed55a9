"""Scores one task's outputs by two models against each other: by its own metrics, or by how far they agree."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl.export import parity
from kmtl.metrics import metrics_in, scores_of_outputs
from kmtl.tasks import Task


@dataclasses.dataclass(frozen=True)
class TaskQuality:
    """One metric of one task.

    Attributes:
        task: Name of the task.
        metric: Name of the metric, as the task has it; without labels, `agreement_with_keras` or `r2_against_keras`.
        before: Its value by the Keras model.
        after: Its value by the artifact, the worst of the task's signatures.
        change: `after` against `before` in percent of `before`; negative is better, infinite where a value became
            NaN or left 0 for the worse. None if nobody knows the metric's better end.
    """

    task: str
    metric: str
    before: float
    after: float
    change: float | None


def rows(
    model: Any, labels: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, list[Any]]
) -> tuple[TaskQuality, ...]:
    """Compares the outputs of every task.

    Args:
        model: The model, which may know its tasks.
        labels: Labels by task name, complete, missing ones included; empty where there are none.
        before: Outputs of the Keras model by task name.
        after: Outputs of each of the task's signatures, by task name.

    Returns:
        One row a task and metric.
    """
    tasks = getattr(model, "tasks", None) or {}
    result: list[TaskQuality] = []
    for name, expected in before.items():
        own = _own_rows(model, tasks[name], labels, expected, after[name]) if name in labels else []
        result += own
        # A metric of a vector is ruled by its largest element, and a scale that fits that one can ruin the others.
        is_vector = expected.shape[-1] > 1 and not decides(model, name)
        if not any(row.change is not None for row in own) or is_vector:
            result.append(_agreement(name, tasks.get(name), expected, after[name]))
    return tuple(result)


def decides(model: Any, task: str) -> bool:
    """Tells whether an output is read as a decision, as far as the model knows."""
    found = (getattr(model, "tasks", None) or {}).get(task)
    return found is not None and found.decides


def _own_rows(model: Any, task: Any, labels: Mapping[str, Any], expected: Any, found: list[Any]) -> list[TaskQuality]:
    """Compares a task's own metrics; those without a value by the Keras model, for lack of labels, are left out."""
    listed = metrics_in(model, task)
    before = scores_of_outputs(listed, task, labels, expected)
    others = [scores_of_outputs(listed, task, labels, values) for values in found]
    rows = []
    for key, value in before.items():
        metric = key.removeprefix(f"{task.name}_")
        if math.isfinite(value):
            rows.append(_worst(task.name, metric, value, [scores[key] for scores in others], _direction(task, metric)))
    return rows


def _direction(task: Any, metric: str) -> str | None:
    """Returns a metric's better end, or None if nobody knows it."""
    try:
        return task.direction(metric)
    except ValueError:
        return None


def _agreement(name: str, task: Task | None, expected: Any, found: list[Any]) -> TaskQuality:
    """Compares outputs with those of the Keras model; it agrees with itself, so that 1 is where it starts."""
    if task is not None and task.decides:
        values = [parity.row(name, task, expected, {"": other}).decisions for other in found]
        return _worst(name, "agreement_with_keras", 1.0, values, "max")
    axes = tuple(range(1 + (0 if task is None else task.dense_axes)))
    return _worst(name, "r2_against_keras", 1.0, [_r2(expected, other, axes) for other in found], "max")


def _r2(expected: Any, found: Any, axes: tuple[int, ...]) -> float:
    """Returns 1 - MSE / variance of the element that agrees least; a constant element is held against its square.

    The axes are those of samples and places.
    """
    expected, found = np.asarray(expected, "float64"), np.asarray(found, "float64")
    errors, spreads = np.mean((expected - found) ** 2, axis=axes), np.var(expected, axis=axes)
    spreads = np.where(spreads > 0, spreads, np.mean(expected**2, axis=axes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.min(1.0 - np.where(errors == 0, 0.0, errors / spreads)))


def _worst(task: str, metric: str, before: float, values: list[Any], direction: str | None) -> TaskQuality:
    """Makes the row of the signature that changed most for the worse."""
    rows = [TaskQuality(task, metric, before, float(value), change(before, value, direction)) for value in values]
    return max(rows, key=lambda row: row.change if row.change is not None else 0.0)


def change(before: float, after: float, direction: str | None) -> float | None:
    """Returns by how much a metric got worse, in percent of its value before; negative is better.

    >>> change(0.8, 0.796, "max"), change(4.0, 4.0, "min"), change(0.0, 0.1, "min"), change(1.0, 2.0, None)
    (0.5, 0.0, inf, None)
    """
    if direction is None:
        return None
    worsening = before - after if direction == "max" else after - before
    if math.isnan(worsening) or not worsening:
        return math.inf if math.isnan(worsening) else 0.0
    return round(100.0 * worsening / abs(before), 9) if before else math.copysign(math.inf, worsening)
