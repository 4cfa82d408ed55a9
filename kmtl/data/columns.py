"""Arrays of inputs, labels and weights, checked against the tasks and brought into their form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, known_keys, some, words
from kmtl.feeding.batches import as_array
from kmtl.tasks import Task

# Rows of labels that are looked at together.
_CHUNK = 1024


def checked_inputs(refusals: Refusals, x: Any) -> tuple[Any, int]:
    """Returns the inputs as NumPy arrays, float64 as float32, and their number of rows."""
    if isinstance(x, Mapping):
        if not x:
            refusals.add("x", "must hold at least one input", dict(x))
        arrays: Any = {name: _input(refusals, f"x[{name!r}]", values) for name, values in x.items()}
        every = dict(zip((f"x[{name!r}]" for name in x), arrays.values(), strict=True))
    else:
        arrays = _input(refusals, "x", x)
        every = {"x": arrays}
    rows = next((len(array) for array in every.values()), 0)
    for argument, array in every.items():
        check_rows(refusals, argument, array, rows)
    if rows == 0 and not refusals.messages:
        refusals.add("x", "must hold at least one example", 0)
    return arrays, rows


def _input(refusals: Refusals, argument: str, values: Any) -> Any:
    """One input as an array that TensorFlow takes."""
    array = values.to_numpy() if hasattr(values, "to_numpy") else as_array(values)
    text = array.dtype.kind in "OUST" and all(isinstance(item, str | bytes) for item in array.ravel())
    if array.ndim == 0 or not (text or array.dtype.kind in "biuf"):
        fix = "A frame with columns of several types goes to from_frame."
        refusals.add(argument, "must be an array of numbers or of text", words(f"{array.dtype} {array.shape}"), fix)
        return np.zeros(array.shape[:1] or 1)
    if array.dtype.kind == "f":
        array = narrowed(array)
        bad = int(np.sum(~np.isfinite(array)))
        if bad:
            refusals.add(argument, "must be finite", words(f"{bad} NaN or infinite values"), "Fill or drop them.")
    return array


def narrowed(array: Any) -> Any:
    """Float64 as float32; a value too large becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32) if array.dtype == np.float64 else array


def check_rows(refusals: Refusals, argument: str, array: Any, rows: int) -> bool:
    """Records an array with another number of rows than the inputs have."""
    same = np.ndim(array) > 0 and len(array) == rows
    if not same:
        got = len(array) if np.ndim(array) else np.ndim(array)
        refusals.add(argument, f"must have {rows} rows, as many as the first input", got)
    return same


def checked_labels(refusals: Refusals, labels: Any, tasks: Sequence[Task], rows: int) -> dict[str, Any]:
    """Returns every task's labels in its dtype and shape; a task without any is missing in every row."""
    names = [task.name for task in tasks]
    if not isinstance(labels, Mapping) and not hasattr(labels, "columns"):
        fix = "Key them by task, for example {'digit': digits}."
        refusals.add("labels", "must be a dict of arrays or a frame", words(type(labels).__name__), fix)
        return {}
    given = {name: labels[name] for name in labels}
    others = [str(name) for name in given if name not in names]
    if others and hasattr(labels, "columns"):
        fix = f"Pass the columns of the tasks alone: labels[{[name for name in names if name in given] or names}]."
        refusals.add("labels", "must have no other columns than the tasks", some(others), fix)
    else:
        known_keys(refusals, "labels", given, names)
    if not any(name in given for name in names):
        refusals.add("labels", f"must hold labels of at least one of {names}", list(given))
    return {
        task.name: label_array(refusals, task, given[task.name], rows)
        if task.name in given
        else task.absent_labels(rows)
        for task in tasks
    }


def label_array(refusals: Refusals, task: Task, values: Any, rows: int) -> Any:
    """Returns one task's labels in its dtype and shape, and records what is wrong with them."""
    argument = f"labels[{task.name!r}]"
    array = _without_gaps(task.unmasked(values), task.missing)
    # The labels of one element a row are the same with and without its axis.
    array = array[:, None] if task.label_shape == (1,) and array.ndim == 1 else array
    before = len(refusals.messages)
    task.check_labels(refusals, "labels", array.dtype, array.shape)
    check_rows(refusals, argument, array, rows)
    if len(refusals.messages) == before:
        task.check_digits(refusals, argument, array)
    if len(refusals.messages) > before:
        return task.absent_labels(rows)
    shape = array.shape[1:] if None in task.label_shape else task.label_shape
    # A float64 too large becomes infinite, which is refused.
    with np.errstate(over="ignore"):
        labels = task.cast_labels(array.reshape(rows, *shape))
    statistics = task.statistics()
    for start in range(0, rows, _CHUNK):
        statistics.update(labels[start : start + _CHUNK])
    statistics.refuse_values(refusals, argument)
    return labels


def _without_gaps(values: Any, missing: int | float) -> Any:
    """Values as an array in their own dtype; pandas' NA as the missing value."""
    if not hasattr(values, "to_numpy"):
        return np.asarray(values)
    kinds = {dtype.kind for dtype in (values.dtypes if values.ndim == 2 else [values.dtype])}
    if not kinds <= set("biuf"):
        return values.to_numpy()
    dtype = np.result_type("float64" if "f" in kinds else "int64", type(missing))
    return values.to_numpy(dtype=dtype, na_value=np.nan if "f" in kinds else missing)


def as_numbers(values: Any) -> tuple[Any, set[str]]:
    """Values as a float64 array, pandas' NA and what `np.ma` masks as NaN, and the kinds of dtype that they had."""
    if hasattr(values, "to_numpy"):
        kinds = {dtype.kind for dtype in (values.dtypes if values.ndim == 2 else [values.dtype])}
        numeric = kinds <= set("biuf")
        return (values.to_numpy(dtype="float64", na_value=np.nan) if numeric else values.to_numpy()), kinds
    array = np.asarray(values)
    kind = array.dtype.kind
    if kind not in "biuf":
        return array, {kind}
    return np.where(np.ma.getmaskarray(values), np.nan, array.astype(np.float64)), {kind}


def checked_weights(refusals: Refusals, weights: Any, tasks: Sequence[Task], rows: int) -> dict[str, Any] | None:
    """Returns sample weights by task, 1 where a dict leaves a task out; None stays None."""
    if weights is None:
        return None
    names = [task.name for task in tasks]
    if not isinstance(weights, Mapping):
        return dict.fromkeys(names, _weight(refusals, "sample_weight", weights, rows))
    known_keys(refusals, "sample_weight", weights, names)
    own = {name: _weight(refusals, f"sample_weight[{name!r}]", item, rows) for name, item in weights.items()}
    return {name: own.get(name, np.ones(rows, np.float32)) for name in names}


def _weight(refusals: Refusals, argument: str, values: Any, rows: int) -> Any:
    """One weight a row; records negative and non-finite ones."""
    numbers, kinds = as_numbers(values)
    if numbers.ndim != 1 or not kinds <= set("biuf"):
        refusals.add(argument, "must hold one number a row", words(f"{numbers.dtype} {numbers.shape}"))
    elif check_rows(refusals, argument, numbers, rows):
        wrong = ~(np.isfinite(numbers) & (numbers >= 0))
        if wrong.any():
            refusals.add(argument, "must be finite and at least 0", some(numbers[wrong]))
        return narrowed(numbers)
    return np.ones(rows, np.float32)
