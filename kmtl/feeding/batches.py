"""One batch, or a whole set of arrays: labels and weights by task, checked and completed."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, known_keys, words
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.label_statistics import check_batch
from kmtl.tasks import Task, TaskSpace
from kmtl.tasks.statistics import bad_weights

_LIST = "Pass a dict keyed by task name; Keras would assign a list by sorted name."


def check_keys(refusals: Refusals, argument: str, given: Any, tasks: Mapping[str, Task], *, all_needed: bool) -> bool:
    """Records a structure that is not a dict, unknown keys, and (if all are needed) missing ones.

    Returns:
        Whether it is a dict at all.
    """
    if not isinstance(given, Mapping):
        got = words(f"{type(given).__name__}")
        example = "{" + ", ".join(f"{name!r}: ..." for name in tasks) + "}"
        fix = _LIST if isinstance(given, list | tuple) else f"Pass {example}."
        refusals.add(argument, "must be a dict keyed by task name", got, fix)
        return False
    known_keys(refusals, argument, given, tasks)
    absent = [name for name in tasks if name not in given]
    if all_needed and absent:
        fix = (
            "Pass every task's labels, NaN or -1 where missing. Or, to leave these heads as they are, `check=False`; "
            "before a stream, model.adapt(...), which learns means and scales of the others."
        )
        refusals.add(argument, f"must hold every task; missing: {absent}", list(given), fix)
    return True


def as_array(value: Any) -> Any:
    """Returns a NumPy array; what has no regular shape becomes one of objects, which the checks refuse."""
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "iufb":
        # What is behind the mask is not to be used: the checks refuse NaN.
        wide = np.result_type(value.dtype, "float32")
        return np.ma.filled(value.astype(wide), np.nan) if np.any(value.mask) else np.asarray(value)
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(list(value), dtype=object)


def as_mapping(given: Any) -> Any:
    """Turns a pandas frame into a dict of its columns; anything else stays what it is."""
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        return {str(column): given[column].to_numpy() for column in given.columns}
    return given


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
    values: bool = False,
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
        values: Whether values are checked, too; a look at all of the data tells more.

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
            labels = {
                name: as_array(task.unmasked(labels[name]))
                for name, task in tasks.items()
                if labels.get(name) is not None
            }
            _check_labels(refusals, labels, tasks, rows)
            # What does not count may have any weight.
            counting = labels if refusals.messages else TaskSpace(tasks.values()).mask(labels)
            _check_weights(refusals, given, counting, tasks, rows)
    complete = {
        name: task.cast_labels(labels[name]) if name in labels else task.absent_labels(rows or 0)
        for name, task in tasks.items()
    }
    if values:
        check_batch(inputs, complete, tasks, owner)
    return complete, {
        name: tasks[name].shaped_weights(given[name].astype("float32")) for name in tasks if name in given
    }


def number_of_examples(inputs: Any) -> int:
    """Number of examples of inputs of any structure."""
    arrays = keras.tree.flatten(inputs)
    return len(arrays[0]) if arrays and np.ndim(arrays[0]) else 0


def _check_labels(refusals: Refusals, labels: Mapping[str, Any], tasks: Mapping[str, Task], rows: int | None) -> None:
    """Records labels of a wrong dtype, shape or length."""
    for name, array in labels.items():
        before = len(refusals.messages)
        tasks[name].check_labels(refusals, "y", array.dtype, array.shape)
        if len(refusals.messages) == before:
            tasks[name].check_digits(refusals, f"y[{name!r}]", array)
        if rows is not None and array.ndim and len(array) != rows:
            refusals.add(f"y[{name!r}]", f"must hold {rows} labels, one an example", len(array))


def _check_weights(
    refusals: Refusals,
    weights: Mapping[str, Any],
    labels: Mapping[str, Any],
    tasks: Mapping[str, Task],
    rows: int | None,
) -> None:
    """Records sample weights that are negative, not finite or of a wrong shape or length."""
    for name, array in weights.items():
        argument, task = f"sample_weight[{name!r}]", tasks[name]
        present = task.present(labels[name]) if name in labels else None
        if array.dtype.kind not in "iufb" or not task.takes_weights(array.shape):
            rule = "must be one number an example" + (", or one a place of it" if task.dense_axes else "")
            refusals.add(argument, rule, words(f"{array.dtype} of shape {array.shape}"))
        elif rows is not None and len(array) != rows:
            refusals.add(argument, f"must hold {rows} weights, one an example", len(array))
        elif bad := bad_weights(array, present):
            refusals.add(argument, "must be finite and at least 0", words(f"{bad} of {len(array)} that are not"))


def multiply_class_weights(
    labels: Mapping[str, Any], weights: Mapping[str, Any], tables: Mapping[str, Any], tasks: Mapping[str, Task]
) -> dict[str, Any]:
    """Multiplies each class's weight onto the sample weights; a missing label weighs 1 and counts nothing.

    >>> from kmtl.tasks import BinaryClassification
    >>> tasks = {"spam": BinaryClassification("spam")}
    >>> multiply_class_weights({"spam": np.array([0, 1, -1])}, {}, {"spam": np.array([0.5, 2.0])}, tasks)
    {'spam': array([0.5, 2. , 1. ])}
    """
    result = dict(weights)
    for name, table in tables.items():
        task, found = tasks[name], np.asarray(labels[name])
        # One weight an example, or one a place of it.
        found = found if task.dense_axes else found.reshape(-1)
        present = task.present(found)
        by_class = np.where(present, np.asarray(table)[np.where(present, found, 0)], 1.0)
        result[name] = by_class * task.shaped_weights(np.asarray(result[name])) if name in result else by_class
    return result


def weights_of_all(labels: Mapping[str, Any], weights: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Weighs every task: Keras wants weights of the structure of the labels, the same in every batch.

    >>> from kmtl.tasks import BinaryClassification, Regression
    >>> labels = {"spam": np.array([0, 1]), "age": np.array([30.0, 40.0])}
    >>> tasks = {"spam": BinaryClassification("spam"), "age": Regression("age")}
    >>> weights_of_all(labels, {"age": np.array([1.0, 2.0])}, tasks)
    {'spam': array([1., 1.], dtype=float32), 'age': array([1., 2.])}
    """
    ones = {name: np.ones(len(value), dtype="float32") for name, value in labels.items() if name not in weights}
    return {name: weights[name] if name in weights else tasks[name].shaped_weights(ones[name]) for name in labels}
