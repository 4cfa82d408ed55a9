"""The one structure that labels and weights have: a dict by task name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl._checks import Refusals, known_keys, words
from kmtl.tasks import Task

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
        fix = "Pass every task's labels, NaN or -1 where missing; or `check=False` to train without them."
        refusals.add(argument, f"must hold every task; missing: {absent}", list(given), fix)
    return True


def check_label(refusals: Refusals, argument: str, task: Task, dtype: Any, shape: tuple[int | None, ...]) -> None:
    """Records labels of a wrong dtype or shape.

    Args:
        refusals: Where to record.
        argument: What the user calls it.
        task: Whose labels they are.
        dtype: NumPy dtype of the labels.
        shape: Their shape with the batch axis; an unknown size is None.
    """
    kind = np.dtype(dtype).kind
    label = f"{argument}[{task.name!r}]"
    if task.label_dtype == "int32" and kind == "f":
        fix = "Cast to int, -1 where missing; kmtl.data.from_frame does both."
        refusals.add(label, "must be integers: it is a classification", words(str(np.dtype(dtype))), fix)
    elif kind not in "iufb":
        refusals.add(label, "must be numbers", words(str(np.dtype(dtype))), "Encode names as numbers first.")
    if not _fits(tuple(shape), task):
        wanted = "(batch, " + "".join(f"{size}, " for size in task.label_shape)
        refusals.add(label, f"must have shape {wanted.rstrip(', ')}{')' if task.label_shape else ',)'}", tuple(shape))


def _fits(shape: tuple[int | None, ...], task: Task) -> bool:
    """Whether labels have the task's shape behind the batch axis; a scalar may come as `(batch, 1)`."""
    accepted = [task.label_shape] if task.label_shape else [(), (1,)]
    return len(shape) >= 1 and any(_same(shape[1:], wanted) for wanted in accepted)


def _same(shape: tuple[int | None, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes agree, an unknown size with anything."""
    return len(shape) == len(wanted) and all(a is None or a == b for a, b in zip(shape, wanted, strict=True))


def as_array(value: Any) -> Any:
    """Returns a NumPy array; what has no regular shape becomes one of objects, which the checks refuse."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(list(value), dtype=object)


def as_labels(array: Any, task: Task) -> Any:
    """Returns an array in the task's dtype; a class beyond its range must not wrap around into a valid one."""
    if task.label_dtype == "int32" and array.dtype.kind in "iu":
        limits = np.iinfo("int32")
        array = np.clip(array.astype("int64"), limits.min, limits.max)
    return array.astype(task.label_dtype)


def absent_labels(task: Task, batch: int) -> Any:
    """Returns labels that are all missing, `(batch, ...)`."""
    return np.full((batch, *task.label_shape), task.missing, dtype=task.label_dtype)


def as_mapping(given: Any) -> Any:
    """Turns a pandas frame into a dict of its columns; anything else stays what it is."""
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        return {str(column): given[column].to_numpy() for column in given.columns}
    return given
