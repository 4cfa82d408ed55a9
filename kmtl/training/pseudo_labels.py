"""Labels that a model gives to rows which have none."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kmtl._types import Tensor
from kmtl.tasks import Task, TaskSpace


def pseudo_labels(
    tasks: Mapping[str, Task], labels: Mapping[str, Any], outputs: Mapping[str, Any], threshold: float, rows: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """The likeliest class wherever a label is missing and the class is likely enough.

    A label that is there stays out: its own loss sees it. Where a task has a condition (`where`), it counts on the rows
    whose other labels, given or likely enough, fulfil it. A task without probabilities of classes gets none.

    Args:
        tasks: The tasks by name.
        labels: `{task: label}`, missing ones as NaN or -1.
        outputs: `{task: output}`, float32, of the same rows.
        threshold: Least probability of a label; above 1 there are none.
        rows: Which rows are rows, `(batch,)`.

    Returns:
        `{task: label}` with all other labels missing; and how many rows, of a dense task places, a label of each task
        is missing in, `(K,)`.

    >>> from kmtl.tasks import Classification
    >>> given = {"digit": ops.array([-1, -1, 2])}, {"digit": ops.array([[0.1, 0.9, 0.0], [0.5, 0.3, 0.2], [1.0, 0, 0]])}
    >>> found, counts = pseudo_labels({"digit": Classification("digit", 3)}, *given, 0.8, ops.ones(3, "bool"))
    >>> found["digit"].numpy().tolist(), counts.numpy().tolist()
    ([1, -1, -1], [2.0])
    """
    there, merged, free = {}, {}, {}
    for name, task in tasks.items():
        given = task.shaped(ops.cast(labels[name], task.label_dtype), outputs[name])
        there[name] = task.present(given)
        guess, sure = _guess(task, given, outputs[name], threshold)
        open_ = ~there[name] & _spread(rows, given)
        merged[name] = ops.where(open_ & sure, guess, ops.where(there[name], given, task.missing))
        free[name] = _number(task, open_)
    counted = TaskSpace(tasks.values()).mask(merged)
    found = {name: ops.where(there[name], tasks[name].missing, counted[name]) for name in tasks}
    return found, ops.stack(list(free.values()))


def _guess(task: Task, given: Any, outputs: Any, threshold: float) -> tuple[Any, Any]:
    """The likeliest class of each element of a label, and whether it is likely enough."""
    probabilities = task.class_probabilities(outputs)
    if probabilities is None:
        return given, ops.zeros(ops.shape(given), "bool")
    best = ops.cast(ops.argmax(probabilities, axis=-1), task.label_dtype)
    sure = ops.max(probabilities, axis=-1) >= threshold
    return ops.reshape(best, ops.shape(given)), ops.reshape(sure, ops.shape(given))


def _spread(rows: Any, like: Any) -> Any:
    """One truth value a row, with the axes of labels."""
    return ops.reshape(rows, (-1, *[1] * (len(like.shape) - 1)))


def _number(task: Task, elements: Any) -> Any:
    """How many rows, or places of a dense task, have such an element."""
    axes = tuple(range(1 + task.dense_axes, len(elements.shape)))
    return ops.sum(ops.cast(ops.any(elements, axis=axes) if axes else elements, "float32"))


def real_rows(x: Any) -> Tensor:
    """Which rows of a batch hold anything, `(batch,)`: one of zeros stands in where a replica got none.

    >>> real_rows({"a": ops.array([[0.0, 1.0], [0.0, 0.0]]), "b": ops.array([0, 0])}).numpy().tolist()
    [True, False]
    """
    found = [_holds(tensor) for tensor in keras.tree.flatten(x)]
    return tf.reduce_any(tf.stack(found), axis=0)


def _holds(tensor: Any) -> Any:
    """Which rows of one input hold anything."""
    other = tf.not_equal(tensor, tf.zeros([], tensor.dtype) if tensor.dtype != tf.string else "")
    return tf.reduce_any(other, axis=list(range(1, len(tensor.shape)))) if len(tensor.shape) > 1 else other
