"""How much the labels of two tasks say of each other, whatever their kinds."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl.tasks import Task

# Bins of whole numbers of many values.
_BINS = 4


def label_affinity(tasks: Sequence[Task], labels: Mapping[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """Measures the absolute correlation of each pair of tasks over the rows that have both labels.

    A label of numbers is its elements; one of classes an indicator a class. Of two labels it is the largest absolute
    correlation of any element or indicator of one with any of the other; of places, as pixels, their mean counts.

    Args:
        tasks: The tasks, K.
        labels: `{task: array}`, missing ones among them.

    Returns:
        Array `(K, K)` in 0 .. 1, with 1 on its diagonal; and the pairs without a correlation, which have 0: no common
        rows, or one of the two constant in them.

    >>> from kmtl.tasks import Regression
    >>> labels = {"age": np.array([1.0, 2.0, 4.0]), "height": np.array([-1.0, -2.0, -4.0])}
    >>> label_affinity([Regression("age"), Regression("height")], labels)[0].round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    values = [task.cast_labels(np.asarray(labels[task.name])) for task in tasks]
    seen = [task.present(value).reshape(len(value), -1).any(axis=1) for task, value in zip(tasks, values, strict=True)]
    found, without = np.eye(len(tasks)), []
    for one, other in itertools.combinations(range(len(tasks)), 2):
        both = seen[one] & seen[other]
        columns = [_columns(tasks[place], values[place][both]) for place in (one, other)]
        found[one, other] = found[other, one] = _largest(*columns)
        if not all(part.shape[1] for part in columns):
            without.append((tasks[one].name, tasks[other].name))
    return found, without


def _columns(task: Task, labels: Any) -> Any:
    """Standardised numbers that stand for a label, `(rows, columns)`; constant ones are left out."""
    if len(labels) < 2:
        return np.zeros((len(labels), 0))
    if task.label_dtype == "int32":
        numbers = task.strata(labels, _BINS).astype("float64")
    else:
        places = int(np.prod(labels.shape[1 : 1 + task.dense_axes]))
        shaped = labels.reshape(len(labels), places, -1).astype("float64")
        counts = (~np.isnan(shaped)).sum(axis=1)
        numbers = np.nansum(shaped, axis=1) / np.maximum(counts, 1)
        # Of an element that is missing in some row, the mean stands for it.
        means = np.where(counts > 0, numbers, 0.0).sum(axis=0) / np.maximum((counts > 0).sum(axis=0), 1)
        numbers = np.where(counts > 0, numbers, means)
    scale = numbers.std(axis=0)
    varied = scale > 1e-12 * np.abs(numbers).max(axis=0, initial=0.0)
    return (numbers - numbers.mean(axis=0))[:, varied] / scale[varied]


def _largest(one: Any, other: Any) -> float:
    """The largest absolute correlation; 0 without any."""
    if not one.shape[1] or not other.shape[1]:
        return 0.0
    return float(np.minimum(np.abs(one.T @ other / len(one)).max(), 1.0))
