"""Columns of a pandas frame as inputs, labels and weights."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from numbers import Real
from typing import Any

import numpy as np

from kmtl._checks import Refusals, known_keys, near, some, words
from kmtl.data.columns import as_numbers, checked_weights, label_array, narrowed
from kmtl.data.label_images import file_names, is_image
from kmtl.tasks import Task
from kmtl.tasks.shapes import known_shape
from kmtl.trunks import Columns


def check_frame(refusals: Refusals, argument: str, frame: Any) -> None:
    """Refuses, at once, what is no frame, has no row or the same column twice."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        refusals.add(argument, "must be a pandas DataFrame", words(type(frame).__name__))
        refusals.check()
    if len(frame) == 0:
        refusals.add(argument, "must hold at least one row", 0)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        refusals.add(argument, "must have different column names", list(twice))
    refusals.check()


def feature_arrays(refusals: Refusals, frame: Any, features: Any) -> Any:
    """Returns numeric columns as one float32 matrix `(rows, columns)`, or one a name for a mapping."""
    if isinstance(features, Columns):
        try:
            return features.arrays(frame)
        except ValueError as error:
            refusals.messages.append(str(error))
            return {}
    if isinstance(features, Mapping):
        return {name: _input(refusals, frame, names) for name, names in features.items()}
    return _matrix(refusals, frame, _listed(features))


def _input(refusals: Refusals, frame: Any, names: Any) -> Any:
    """One input of several: a matrix of numbers, or the text of a single column, `(rows,)`."""
    if not isinstance(names, str) or names not in frame.columns or not _is_text(frame[names]):
        return _matrix(refusals, frame, _listed(names))
    absent = int(frame[names].isna().sum())
    if absent:
        fix = "Fill them, for example with fillna('')."
        refusals.add("features", f"must be text in every row of column {names!r}", words(f"{absent} missing"), fix)
    return frame[names].fillna("").astype(object).to_numpy()


def _is_text(series: Any) -> bool:
    """Whether a column holds text, gaps aside."""
    return series.notna().any() and all(isinstance(value, str) for value in series.dropna())


def feature_columns(features: Any) -> list[str]:
    """Every column that the features name.

    >>> feature_columns({"body": ["height", "weight"], "age": "age"})
    ['height', 'weight', 'age']
    """
    if isinstance(features, Columns):
        return list(features)
    groups = features.values() if isinstance(features, Mapping) else [features]
    return [column for group in groups for column in _listed(group)]


def _listed(columns: Any) -> list[Any]:
    """One column or several as a list."""
    return [columns] if isinstance(columns, str) else list(columns)


def _matrix(refusals: Refusals, frame: Any, columns: Sequence[Any]) -> Any:
    """The columns side by side; records those that are absent, not numeric or not finite."""
    if not columns:
        refusals.add("features", "must name at least one column", list(columns))
    arrays = [_feature(refusals, frame, column) for column in columns]
    return np.stack(arrays, axis=1) if arrays else np.zeros((len(frame), 0), np.float32)


def _feature(refusals: Refusals, frame: Any, column: Any) -> Any:
    """One numeric column as float32."""
    nothing = np.zeros(len(frame), np.float32)
    if not _has_column(refusals, "features", frame, column):
        return nothing
    numbers, kinds = as_numbers(frame[column])
    if not kinds <= set("biuf"):
        fix = "Encode categories by features=kmtl.trunks.Columns.of(frame, ...), or by pandas.get_dummies."
        if _is_text(frame[column]):
            fix = (
                f"Make text an input of its own, features={{{column!r}: {column!r}, ...}}; or {fix[0].lower()}{fix[1:]}"
            )
        refusals.add("features", f"must be numeric, as column {column!r} is not", words(str(frame[column].dtype)), fix)
        return nothing
    narrow = narrowed(numbers)
    bad = int(np.sum(~np.isfinite(narrow)))
    if bad:
        got = words(f"{bad} missing or infinite values in column {column!r}")
        fix = "Fill or drop them, or pass features=kmtl.trunks.Columns.of(frame, ...), which tells of gaps."
        refusals.add("features", "must be finite", got, fix)
    return narrow


def _has_column(refusals: Refusals, argument: str, frame: Any, column: Any) -> bool:
    """Records a column that the frame does not have, with the near match."""
    if column in frame.columns:
        return True
    refusals.add(argument, "must name columns of the frame", column, near(str(column), map(str, frame.columns)))
    return False


def _label_columns(refusals: Refusals, frame: Any, tasks: Sequence[Task], columns: Any) -> dict[str, list[Any] | None]:
    """Finds the columns of every task's label; None is a task that is said to have none.

    A task whose columns are wrong is left out, and recorded.
    """
    given = dict(columns or {})
    known_keys(refusals, "columns", given, [task.name for task in tasks])
    found: dict[str, list[Any] | None] = {}
    for task in tasks:
        named = given.get(task.name, task.label_columns(list(frame.columns)))
        if named is None:
            found[task.name] = None
            continue
        listed = _listed(named)
        absent_ones = [c for c in listed if not _has_column(refusals, f"columns[{task.name!r}]", frame, c)]
        if not absent_ones:
            found[task.name] = listed
    return found


def labels_and_weights(
    refusals: Refusals, frame: Any, tasks: Sequence[Task], columns: Any, weights: Any, others: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Reads labels and sample weights from their columns.

    Args:
        refusals: Where offenders are recorded.
        frame: One row an example.
        tasks: The tasks.
        columns: Label columns by task, where they are not named as the task.
        weights: A column, an array, or a dict of those by task.
        others: Columns that are inputs, so no labels.

    Returns:
        Every task's labels in its dtype and shape, gaps as missing, and every task's weights or None. Labels that are
        images come as names of their files.
    """
    found = _label_columns(refusals, frame, tasks, columns)
    for name, named in found.items():
        for column in named or ():
            if column in others:
                fix = "A label that is an input too would be learned by copying."
                refusals.add(f"columns[{name!r}]", "must not be an input", column, fix)
    labels = {task.name: _label(refusals, frame, task, found[task.name] or []) for task in tasks if task.name in found}
    if not any(found.values()) and not refusals.messages:
        refusals.add("columns", "must leave at least one task with labels", columns)
    return labels, checked_weights(refusals, _weight_arrays(refusals, frame, weights), tasks, len(frame))


def _label(refusals: Refusals, frame: Any, task: Task, columns: Sequence[Any]) -> Any:
    """One task's labels out of one column, or of one a label element; of a label that is an image, names of files."""
    if is_image(task):
        return file_names(refusals, task, frame, columns)
    rows, width = len(frame), prod(known_shape(task.label_shape))
    if not columns:
        return task.absent_labels(rows)
    if len(columns) != width:
        fix = f"For example columns={{{task.name!r}: {[f'{task.name}_{i}' for i in range(width)]}}}."
        refusals.add(f"columns[{task.name!r}]", f"must name {width} columns, one a label element", list(columns), fix)
        return task.absent_labels(rows)
    before = len(refusals.messages)
    parts = [_numbers(refusals, task, frame[column]) for column in columns]
    if len(refusals.messages) > before:
        return task.absent_labels(rows)
    values = np.stack(parts, axis=1).reshape(rows, *task.label_shape)
    return label_array(refusals, task, values, rows)


def _numbers(refusals: Refusals, task: Task, series: Any) -> Any:
    """One label column as numbers: floats with NaN, or ints with -1 where missing."""
    numbers = _read(refusals, task, series)
    if not np.issubdtype(task.label_dtype, np.integer):
        return numbers
    filled = np.where(np.isnan(numbers), task.missing, numbers)
    wrong = filled != np.round(filled)
    if wrong.any():
        rule = f"must be whole numbers, as column {series.name!r} is not"
        refusals.add(f"labels[{task.name!r}]", rule, some(filled[wrong]))
        return filled
    return filled.astype(np.int64)


def _read(refusals: Refusals, task: Task, series: Any) -> Any:
    """A label column as float64 with NaN where missing; text goes through the task's label names."""
    numbers, kinds = as_numbers(series)
    if kinds <= set("biuf"):
        _refuse_renumbered(refusals, task, series)
        return numbers
    here = series.notna().to_numpy()
    values = series.astype(object).to_numpy()[here]
    result = np.full(len(series), np.nan)
    if all(isinstance(value, Real | np.bool_) for value in values):
        _refuse_renumbered(refusals, task, series)
        result[here] = values.astype(np.float64)
    else:
        result[here] = _codes(refusals, task, series.name, values)
    return result


def _refuse_renumbered(refusals: Refusals, task: Task, series: Any) -> None:
    """Records a column of numbers where label names are numbers of other classes: as text it would mean those."""
    if task.renumbered:
        name, place = next(iter(task.renumbered.items()))
        rule = f"must be told apart from label_names, which are numbers of other classes, in column {series.name!r}"
        fix = f"{name!r} is class {place} by its name: read the column as text, or give names that are no numbers."
        refusals.add(f"labels[{task.name!r}]", rule, words("a column of numbers"), fix)


def _codes(refusals: Refusals, task: Task, column: Any, values: Iterable[Any]) -> Any:
    """Text labels as the numbers of the task's label names; records values that have none."""
    texts = [value if isinstance(value, str) else repr(value) for value in values]
    codes = task.label_codes
    unknown = [text for text in texts if text not in (codes or {})]
    if codes and not unknown:
        return [codes[text] for text in texts]
    rule, fix = f"must be numbers, as column {column!r} is not", ""
    if codes:
        rule, fix = f"must be label names of the task in column {column!r}", near(unknown[0], codes)
    elif codes is not None:
        fix = "Give the task label_names, which number the text."
    refusals.add(f"labels[{task.name!r}]", rule, some(unknown or texts), fix)
    return np.nan


def _weight_arrays(refusals: Refusals, frame: Any, weights: Any) -> Any:
    """Sample weights that name a column, or one a task, as arrays; arrays stay."""
    if isinstance(weights, Mapping):
        return {name: _weight_arrays(refusals, frame, item) for name, item in weights.items()}
    if not isinstance(weights, str):
        return weights
    if _has_column(refusals, "sample_weight", frame, weights):
        return frame[weights]
    return np.ones(len(frame), np.float32)
