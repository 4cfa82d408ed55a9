"""Rows that are labelled for both tasks of a pair: how many there are, and a batch in which they alone count."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kmtl.tasks import Task

# A pair that shares fewer of its labelled rows has no cosine worth telling; below the other it is weak.
LEAST_OVERLAP, WEAK_OVERLAP = 0.3, 0.4


def labelled_rows(task: Task, labels: Any) -> Any:
    """Which rows of a batch carry a label of a task, `(batch,)`."""
    return np.asarray(task.present(labels)).reshape(len(labels), -1).any(axis=1)


def label_overlaps(rows: Sequence[Any]) -> Any:
    """Rows labelled for both tasks over rows labelled for either, `(K, K)`."""
    both = sum(part.astype("float64") @ part.T for part in rows)
    counts = np.diagonal(both)
    return both / np.maximum(counts[:, None] + counts[None, :] - both, 1.0)


def both_rows(rows: Any, pair: tuple[int, int]) -> Any:
    """Which rows of a batch are labelled for both tasks."""
    return rows[pair[0]] & rows[pair[1]]


def only_shared(part: Any, tasks: Sequence[Task], pair: tuple[int, int], rows: Any) -> Any:
    """A batch in which two tasks have the labels alone of the rows that are labelled for both, and which these are.

    Args:
        part: `(x, y, sample_weight)`.
        tasks: All tasks, in order.
        pair: Places of the two.
        rows: Which rows are labelled for each task, `(K, batch)`.
    """
    x, y, weights = part
    mask, masked = both_rows(rows, pair), dict(y)
    for task in (tasks[place] for place in pair):
        labels = np.asarray(y[task.name])
        kept = np.where(mask.reshape(-1, *[1] * (labels.ndim - 1)), labels, np.asarray(task.missing, labels.dtype))
        masked[task.name] = ops.convert_to_tensor(kept)
    return x, masked, weights, ops.convert_to_tensor(pair)


def pair_losses(model: Any) -> Any:
    """The losses of two tasks of a batch."""

    def losses(x: Any, y: Any, weights: Any, pair: Any) -> tuple[Any, Any]:
        return tuple(ops.take(values, pair) for values in model.step.losses(x, y, weights))

    return losses
