"""Outputs as arrays: computed of rows, and measured against labels by the metrics of their tasks."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import Task
from kmtl.training.rows_in_memory import Rows
from kmtl.training.trainer import Scores, scores


def outputs_of(model: Any, rows: Rows) -> dict[str, Any]:
    """Computes `{task: array}` for rows."""
    return model.predict(rows.x, batch_size=rows.batch_size, verbose=0)


def labelled(tasks: Iterable[Task], rows: Rows) -> Any:
    """Tells which rows have a label of each task, booleans `(tasks, rows)`."""
    return np.stack([present_rows(task, rows.y[task.name]) for task in tasks])


def present_rows(task: Task, labels: Any) -> Any:
    """Tells which labels are there, in part at least, booleans `(rows,)`.

    >>> from kmtl.tasks import Regression
    >>> present_rows(Regression("place", shape=(2,)), np.array([[1.0, np.nan], [np.nan, np.nan]])).tolist()
    [True, False]
    """
    there = np.asarray(task.present(np.asarray(labels)))
    return there.reshape(len(there), -1).any(axis=1)


def weights_of(rows: Rows, task: Task) -> Any:
    """The sample weights of a task, `(rows,)`, or None; 0 where its label is missing."""
    given = rows.weights.get(task.name) if isinstance(rows.weights, Mapping) else rows.weights
    return None if given is None else np.nan_to_num(np.asarray(given, "float64")).reshape(rows.number)


def masked(tasks: Iterable[Task], labels: Mapping[str, Any], left_out: Any) -> dict[str, Any]:
    """Labels that are missing in some rows more.

    Args:
        tasks: The tasks.
        labels: `{task: labels}`.
        left_out: Booleans `(rows,)`.
    """
    found = {task.name: np.array(task.cast_labels(np.asarray(labels[task.name]))) for task in tasks}
    for task in tasks:
        found[task.name][left_out] = task.missing
    return found


def scored(model: Any, outputs: Mapping[str, Any], labels: Mapping[str, Any], batch_size: int) -> Scores:
    """Measures outputs that a model might have given, by the metrics that it was compiled with.

    Args:
        model: A compiled `MultiTaskModel`.
        outputs: `{task: (rows, *output_shape)}`.
        labels: `{task: labels}`; a task without any has NaN.
        batch_size: Rows a batch.

    Returns:
        `{task: {metric: value}}`.
    """
    with model.distribute_strategy.scope():
        given = {f"{name}_given": keras.Input(outputs[name].shape[1:], name=f"{name}_given") for name in model.tasks}
        same = {
            name: keras.layers.Identity(dtype="float32", name=name)(tensor)
            for name, tensor in zip(model.tasks, given.values(), strict=True)
        }
        made = compile_like(MultiTaskModel(given, same, tasks=list(model.tasks.values())), model)
    x = {f"{name}_given": np.asarray(outputs[name], "float32") for name in model.tasks}
    return scores(made, Rows(x, dict(labels), None, batch_size).dataset(shuffle=False))
