"""Parts of a set of examples that share no example, no group, and have alike labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, is_whole, known_keywords, near, words
from kmtl.data.columns import as_numbers, label_array
from kmtl.data.dataset_labels import FloatLabel, WholeLabel
from kmtl.data.frames import labels_and_weights
from kmtl.data.label_images import is_image
from kmtl.data.partition.holdings import OWNER, Holding, holding
from kmtl.data.partition.stratification import deal, part_sizes
from kmtl.data.task_names import listed_tasks
from kmtl.tasks import Task
from kmtl.tasks.labels import Label

_SUM = 1e-6


@known_keywords
def split(
    data: Any,
    fractions: Sequence[float] | Mapping[str, float] | None = None,
    *,
    stratify: Any = None,
    groups: Any = None,
    folds: int | None = None,
    bins: int = 5,
    seed: int = 0,
) -> Any:
    """Splits examples into parts in which every label, missing ones too, is spread as in the whole.

    Labels of several tasks are kept in proportion at once by iterative stratification (Sechidis, Tsoumakas and
    Vlahavas, "On the Stratification of Multi-Label Data", ECML 2011): each class is a stratum, each bin between
    quantiles of a label with many values, and "missing" as one of its own for each task, so that no part is short of
    the labels of a task that few rows have. Sizes are exact to one row; with groups as near as groups allow.

    Rows keep their order within a part. The same data, arguments and seed give the same parts.

    Args:
        data: A frame; `(x, y)` or `(x, y, weights)` of arrays, dicts of arrays or frames; a dict of arrays; or a finite
            `tf.data.Dataset` of `(x, {task: label})`, batched or not, which gives the same order at every pass.
        fractions: The share of each part, adding up to 1, or a dict of them by the part's name; left out, 0.8 and 0.2.
        stratify: Tasks, or names of labels or columns, whose distribution is kept, one or several; a task says what its
            label is, a name's dtype tells otherwise (-1, NaN, None and NA are missing). None takes all labels of
            `(x, y)` and of a dataset, and none of a frame or a dict; `()` takes none.
        groups: The group of each row (an array, or a column's name), such as a patient: none is in two parts.
        folds: A number k of folds in place of `fractions`.
        bins: Bins of a label with many values.
        seed: Of what is left to chance.

    Returns:
        A tuple of parts, or a dict of them by name, each of the form of `data`. With `folds` a list of k pairs: the
        rest to train on, and the fold held out.

    Raises:
        ValueError: If an argument does not fit, all offenders at once; if a part would be empty.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"kind": ["a", "b"] * 10, "age": [float("nan")] * 12 + [1.0] * 8})
    >>> train, test = split(frame, (0.75, 0.25), stratify=["kind", "age"])
    >>> len(train), sorted(test["kind"].value_counts()), int(test["age"].notna().sum())
    (15, [2, 3], 2)
    >>> [len(held_out) for _, held_out in split(frame, folds=3, groups=np.arange(20) // 2)]
    [8, 6, 6]
    """
    with Refusals(OWNER) as refusals:
        shares = _shares(refusals, fractions, folds)
        if not is_whole(bins) or bins < 2:
            refusals.add("bins", "must be a whole number of at least 2", bins)
        if not is_whole(seed) or seed < 0:
            refusals.add("seed", "must be a whole number of at least 0", seed)
        refusals.check()
        given = holding(data)
        units = _units(refusals, given, groups)
        labels = _labels(refusals, given, stratify)
        refusals.check()
        _refuse_empty(refusals, units, shares, folds)
    tables = [label.strata(values, bins) for label, values in labels]
    strata = np.concatenate([np.zeros((given.rows, 0), bool), *tables], axis=1)
    parts = deal(strata, units, list(shares.values()), seed)[units]
    if folds is not None:
        return [(given.take(parts != fold), given.take(parts == fold)) for fold in range(folds)]
    taken = [given.take(parts == place) for place in range(len(shares))]
    return dict(zip(shares, taken, strict=True)) if isinstance(fractions, Mapping) else tuple(taken)


def _shares(refusals: Refusals, fractions: Any, folds: Any) -> dict[Any, float]:
    """The share of each part by its name or number."""
    if folds is not None:
        if fractions is not None:
            refusals.add("folds", "must not stand with `fractions`", folds, "Leave one of them out.")
        if not is_whole(folds) or folds < 2:
            refusals.add("folds", "must be a whole number of at least 2", folds)
            return {}
        return dict.fromkeys(range(folds), 1 / folds)
    listed = (0.8, 0.2) if fractions is None else fractions
    if isinstance(listed, Mapping):
        shares = dict(listed)
    else:
        shares = dict(enumerate(listed)) if isinstance(listed, Sequence) and not isinstance(listed, str) else {}
    numbers = all(is_number(share) and share > 0 for share in shares.values())
    if len(shares) < 2 or not numbers or abs(sum(shares.values()) - 1) > _SUM:
        fix = "For example (0.8, 0.1, 0.1), or {'train': 0.8, 'test': 0.2}."
        refusals.add("fractions", "must be at least two positive numbers that add up to 1", fractions, fix)
    return shares


def _units(refusals: Refusals, given: Holding, groups: Any) -> Any:
    """The number of each row's group; without groups each row is one."""
    import pandas as pd

    if groups is None:
        return np.arange(given.rows)
    if isinstance(groups, str):
        groups = _column(refusals, "groups", given, groups)
    array = np.asarray(groups)
    if array.shape != (given.rows,):
        refusals.add("groups", f"must hold one group for each of {given.rows} rows", words(str(array.shape)))
        return np.arange(given.rows)
    codes = pd.factorize(array)[0]
    if (codes < 0).any():
        fix = "Give each such row a group of its own."
        refusals.add("groups", "must hold a group in every row", words(f"{int((codes < 0).sum())} without"), fix)
    return codes


def _column(refusals: Refusals, argument: str, given: Holding, name: str) -> Any:
    """A column or label by name; records, and is all gaps, where there is none."""
    names = [str(known) for known in given.columns]
    if name in names:
        return given.columns[name]
    refusals.add(argument, "must name labels or columns of the data", name, near(name, names) if names else "")
    return np.zeros(given.rows)


def _labels(refusals: Refusals, given: Holding, stratify: Any) -> list[tuple[Label, Any]]:
    """Each label that counts, and its values."""
    if stratify is None:
        stratify = list(given.columns) if given.of_labels else []
    found: list[tuple[Label, Any]] = []
    for item in listed_tasks(stratify):
        if isinstance(item, Task):
            found.append((item, _of_task(refusals, given, item)))
        elif isinstance(item, str):
            found.append(named_label(item, _column(refusals, "stratify", given, item)))
        else:
            refusals.add("stratify", "must hold tasks or names", item)
    return found


def _of_task(refusals: Refusals, given: Holding, task: Task) -> Any:
    """A task's labels in its own form."""
    if hasattr(given.columns, "iloc"):
        if is_image(task):
            fix = "Pass (x, {task: labels})."
            refusals.add("stratify", "must have labels that fit into columns", task, fix)
            return task.absent_labels(given.rows)
        return labels_and_weights(refusals, given.columns, [task], None, None, [])[0].get(
            task.name, task.absent_labels(given.rows)
        )
    return label_array(refusals, task, _column(refusals, "stratify", given, task.name), given.rows)


def named_label(name: str, values: Any) -> tuple[Label, Any]:
    """A label of which no task is known, and its values: text is numbered, whole numbers with gaps are whole.

    >>> named_label("sex", ["f", None, "m"])[1].tolist()
    [0, -1, 1]
    """
    import pandas as pd

    array, kinds = as_numbers(values)
    if array.dtype.kind in "mM":
        array = np.where(np.isnat(array), np.nan, array.astype("int64").astype("float64"))
    elif not kinds <= set("biuf"):
        try:
            array = array.astype("float64")
        except (TypeError, ValueError):
            flat = pd.factorize(array.ravel())[0]
            return WholeLabel(name, array.shape[1:]), flat.reshape(array.shape)
    there = ~np.isnan(array)
    if (array[there] == np.round(array[there])).all() and np.isfinite(array[there]).all():
        return WholeLabel(name, array.shape[1:]), np.where(there, array, -1).astype("int64")
    return FloatLabel(name, array.shape[1:]), array


def _refuse_empty(refusals: Refusals, units: Any, shares: Mapping[Any, float], folds: Any) -> None:
    """Records parts for which there are too few rows or groups."""
    rows, number = len(units), len(np.unique(units))
    if number < len(shares):
        what = f"{len(shares)} parts, each of which needs a row" + (" and a group" if number < rows else "")
        refusals.add("folds" if folds is not None else "fractions", "must leave no part empty", words(what))
    elif 0 in part_sizes(rows, list(shares.values())):
        got = words(f"{rows} rows for {list(shares.values())}")
        refusals.add("fractions", "must leave no part empty", got)
