"""One batch, or a whole set of arrays: completed labels and weights by task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl._checks import Refusals, words
from kmtl.feeding.structure import absent_labels, as_labels, as_mapping, check_keys, check_label
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
        return dict.fromkeys(tasks, weights)
    check_keys(refusals, "sample_weight", weights, tasks, all_needed=False)
    return {name: value for name, value in weights.items() if name in tasks and value is not None}


def complete_batch(
    labels: Any, weights: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool, rows: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checks labels and weights, casts them, and fills absent tasks as missing.

    Args:
        labels: `{task: array}` or a pandas frame.
        weights: Sample weights: None, one array, or `{task: array}`.
        tasks: The tasks by name.
        owner: For the messages.
        all_needed: Whether an absent task is refused.
        rows: Number of examples in the inputs, if known.

    Returns:
        Labels of every task and weights of those that have any, in task order.

    Raises:
        ValueError: With all offenders.
    """
    labels = as_mapping(labels)
    with Refusals(owner) as refusals:
        given = spread(refusals, weights, tasks)
        if check_keys(refusals, "y", labels, tasks, all_needed=all_needed):
            _check_labels(refusals, labels, tasks, rows)
            _check_weights(refusals, given, rows)
    rows = rows if rows is not None else _rows(labels, tasks)
    complete = {
        name: as_labels(labels[name], task) if labels.get(name) is not None else absent_labels(task, rows)
        for name, task in tasks.items()
    }
    return complete, {name: np.asarray(given[name], dtype="float32") for name in tasks if name in given}


def _rows(labels: Mapping[str, Any], tasks: Mapping[str, Task]) -> int:
    """Number of examples, from the first labels that are there."""
    return next((len(labels[name]) for name in tasks if labels.get(name) is not None), 0)


def _check_labels(refusals: Refusals, labels: Mapping[str, Any], tasks: Mapping[str, Task], rows: int | None) -> None:
    """Records labels of a wrong dtype, shape or length."""
    for name, task in tasks.items():
        if labels.get(name) is not None:
            array = np.asarray(labels[name])
            check_label(refusals, "y", task, array.dtype, array.shape)
            if rows is not None and array.ndim and len(array) != rows:
                refusals.add(f"y[{name!r}]", f"must hold {rows} labels, one an example", len(array))


def _check_weights(refusals: Refusals, weights: Mapping[str, Any], rows: int | None) -> None:
    """Records sample weights that are negative, not finite or of a wrong length."""
    for name, value in weights.items():
        array = np.asarray(value)
        argument = f"sample_weight[{name!r}]"
        if array.dtype.kind not in "iufb" or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
            refusals.add(argument, "must be one number an example", words(f"{array.dtype} of shape {array.shape}"))
        elif array.size and not (array >= 0).all():
            refusals.add(argument, "must be at least 0", float(np.min(array)))
        elif rows is not None and array.ndim and len(array) != rows:
            refusals.add(argument, f"must hold {rows} weights, one an example", len(array))


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
