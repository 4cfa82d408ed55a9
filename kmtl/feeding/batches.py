"""One batch, or a whole set of arrays: completed labels and weights by task."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, words
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.structure import absent_labels, as_array, as_labels, as_mapping, check_keys, check_label
from kmtl.tasks import Task


def spread(refusals: Refusals, weights: Any, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Returns sample weights by task: one array weighs every task, a dict those that it names."""
    weights = as_mapping(weights)
    if weights is None:
        return {}
    if isinstance(weights, list | tuple):
        refusals.add("sample_weight", "must be one array or a dict keyed by task name", words(type(weights).__name__))
        return {}
    if not isinstance(weights, Mapping):
        return dict.fromkeys(tasks, as_array(weights))
    check_keys(refusals, "sample_weight", weights, tasks, all_needed=False)
    return {name: as_array(value) for name, value in weights.items() if name in tasks and value is not None}


def complete_batch(
    inputs: Any,
    labels: Any,
    weights: Any,
    tasks: Mapping[str, Task],
    owner: str,
    *,
    all_needed: bool,
    form: InputForm | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checks inputs, labels and weights, casts the latter two, and fills absent tasks as missing.

    Args:
        inputs: Arrays of any structure.
        labels: `{task: array}` or a pandas frame.
        weights: Sample weights: None, one array, or `{task: array}`.
        tasks: The tasks by name.
        owner: For the messages.
        all_needed: Whether an absent task is refused.
        form: What the model takes; None leaves the inputs unchecked.

    Returns:
        Labels of every task and weights of those that have any, in task order.

    Raises:
        ValueError: With all offenders.
    """
    labels = as_mapping(labels)
    with Refusals(owner) as refusals:
        if form is not None:
            form.check(refusals, inputs)
        rows = None if refusals.messages else number_of_examples(inputs)
        given = spread(refusals, weights, tasks)
        if check_keys(refusals, "y", labels, tasks, all_needed=all_needed):
            labels = {name: as_array(labels[name]) for name in tasks if labels.get(name) is not None}
            _check_labels(refusals, labels, tasks, rows)
            _check_weights(refusals, given, labels, rows)
    complete = {
        name: as_labels(labels[name], task) if name in labels else absent_labels(task, rows or 0)
        for name, task in tasks.items()
    }
    return complete, {name: np.asarray(given[name], dtype="float32") for name in tasks if name in given}


def number_of_examples(inputs: Any) -> int:
    """Number of examples of inputs of any structure."""
    arrays = keras.tree.flatten(inputs)
    return len(arrays[0]) if arrays and np.ndim(arrays[0]) else 0


def _check_labels(refusals: Refusals, labels: Mapping[str, Any], tasks: Mapping[str, Task], rows: int | None) -> None:
    """Records labels of a wrong dtype, shape or length."""
    for name, array in labels.items():
        check_label(refusals, "y", tasks[name], array.dtype, array.shape)
        if rows is not None and array.ndim and len(array) != rows:
            refusals.add(f"y[{name!r}]", f"must hold {rows} labels, one an example", len(array))


def _check_weights(refusals: Refusals, weights: Mapping[str, Any], labels: Mapping[str, Any], rows: int | None) -> None:
    """Records sample weights that are negative, not finite or of a wrong shape or length."""
    for name, array in weights.items():
        argument = f"sample_weight[{name!r}]"
        if array.dtype.kind not in "iufb" or not 1 <= array.ndim <= 2 or array.shape[1:] not in {(), (1,)}:
            refusals.add(argument, "must be one number an example", words(f"{array.dtype} of shape {array.shape}"))
        elif rows is not None and len(array) != rows:
            refusals.add(argument, f"must hold {rows} weights, one an example", len(array))
        elif bad := bad_weights(array, labels.get(name)):
            refusals.add(argument, "must be finite and at least 0", words(f"{bad} of {len(array)} that are not"))


def bad_weights(weights: Any, labels: Any) -> int:
    """Counts the weights of labelled examples that are negative or not finite; those of others reach nothing.

    >>> bad_weights(np.array([1.0, -1.0, np.nan]), np.array([3, 3, -1]))
    1
    """
    flat = np.asarray(weights).reshape(-1)
    bad = ~((flat >= 0) & (flat < np.inf))
    if labels is not None and len(labels) == len(flat) and bad.any():
        values = np.asarray(labels).reshape(len(flat), -1)
        bad &= (~np.isnan(values) if values.dtype.kind == "f" else values != -1).any(axis=1)
    return int(bad.sum())


def with_class_weights(
    labels: Mapping[str, Any], weights: Mapping[str, Any], tables: Mapping[str, Any]
) -> dict[str, Any]:
    """Multiplies each class's weight onto the sample weights; a missing label weighs 1 and counts nothing.

    >>> with_class_weights({"spam": np.array([0, 1, -1])}, {}, {"spam": np.array([0.5, 2.0])})
    {'spam': array([0.5, 2. , 1. ])}
    """
    result = dict(weights)
    for name, table in tables.items():
        flat = np.asarray(labels[name]).reshape(-1)
        by_class = np.where(flat >= 0, np.asarray(table)[np.maximum(flat, 0)], 1.0)
        result[name] = by_class * np.asarray(result[name]).reshape(-1) if name in result else by_class
    return result


def weights_of_all(labels: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weighs every task: Keras wants weights of the structure of the labels, the same in every batch.

    >>> weights_of_all({"spam": np.array([0, 1]), "age": np.array([30.0, 40.0])}, {"age": np.array([1.0, 2.0])})
    {'spam': array([1., 1.], dtype=float32), 'age': array([1., 2.])}
    """
    return {name: weights.get(name, np.ones(len(value), dtype="float32")) for name, value in labels.items()}
