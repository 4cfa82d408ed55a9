"""What it is worth that tasks are trained in one group."""

from typing import Any

import numpy as np


def cell_values(effects: Any, cells: Any, *, overlapping: bool = False) -> Any:
    """Sums, over the tasks of a cell, the mean effect that the others of their group have on them.

    The score is that of TAG: `score_j(S) = mean over i in S, i != j, of effects[i, j]`, 0 for a task alone. A cell is
    the tasks that one group serves. Of a partition the group is the cell itself. Overlapping, the group may hold
    further tasks that help and are served elsewhere; the cell is worth what it is in the best such group. With T the
    cell and `h_i = sum over j in T of effects[i, j]`, that is the largest over e of

        (sum over i in T of h_i + sum of the e largest other h_i) / (|T| - 1 + e).

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021.

    Args:
        effects: Array `(K, K)`: of the task of the row on that of the column; its diagonal is 0.
        cells: Booleans `(cells, K)`; an empty cell is worth 0.
        overlapping: Whether tasks of other cells may help.

    Returns:
        Array `(cells,)`.

    >>> effects = np.array([[0.0, 0.6, 0.0], [0.2, 0.0, 0.0], [0.0, 0.8, 0.0]])
    >>> cells = np.array([[True, True, False], [True, True, True]])
    >>> cell_values(effects, cells).round(3).tolist()
    [0.8, 0.8]
    >>> cell_values(effects, np.array([[False, True, False]]), overlapping=True).round(3).tolist()
    [0.8]
    """
    members = np.asarray(cells, float)
    helps = members @ np.transpose(effects)
    inside, sizes = (helps * members).sum(axis=-1), members.sum(axis=-1)
    if not overlapping:
        return inside / np.maximum(sizes - 1, 1)
    return best_mean(inside, sizes - 1, np.where(cells, -np.inf, helps)) * (sizes > 0)


def best_mean(total: Any, count: Any, further: Any) -> Any:
    """The largest mean of what is there and any of further numbers: the largest ones, however many pay.

    Args:
        total: Sums of what is there, `(...)`.
        count: How many these are, `(...)`; of 0 the mean is 0.
        further: `(..., n)`; -inf is none.

    >>> best_mean(np.array([1.0]), np.array([2.0]), np.array([[0.75, -3.0, 0.25]])).round(3).tolist()
    [0.583]
    """
    return means(total, count, further)[0].max(axis=-1)


def means(total: Any, count: Any, further: Any) -> tuple[Any, Any]:
    """Means of what is there and of the 0, 1 .. n largest further numbers, `(..., n + 1)`, and of how many each is."""
    largest = -np.sort(-further, axis=-1)
    sums = np.concatenate([np.expand_dims(total, -1), np.expand_dims(total, -1) + np.cumsum(largest, axis=-1)], axis=-1)
    counts = np.expand_dims(count, -1) + np.arange(sums.shape[-1])
    return sums / np.maximum(counts, 1), counts


def helpers(effects: Any, cell: Any) -> Any:
    """The tasks of other cells that the best overlapping group of a cell holds beside it; as few as are worth it.

    Args:
        effects: As of `cell_values`.
        cell: Booleans `(K,)`.

    Returns:
        Booleans `(K,)`.
    """
    found = np.zeros(len(cell), bool)
    helps = np.asarray(effects) @ cell
    best = cell_values(effects, cell[None], overlapping=True)[0]
    size, total = int(cell.sum()) - 1, float(helps @ cell)
    for task in [None, *np.argsort(-helps, kind="stable")]:
        if task is not None and not cell[task]:
            found[task], size, total = True, size + 1, total + helps[task]
        if total / max(size, 1) >= best - tolerance(effects):
            break
    return found


def tolerance(effects: Any) -> float:
    """Sums of effects that differ by less are alike: what is left by rounding."""
    return 1e-10 * max(float(np.abs(effects).sum()), 1e-30)


def masks_of(labels: Any) -> Any:
    """Cells as booleans `(cells, K)`, of labels `(K,)` from 0 on."""
    labels = np.asarray(labels)
    return labels[None] == np.arange(labels.max() + 1)[:, None]


def in_order(labels: Any) -> Any:
    """Labels numbered by the first task of each cell, so that one partition has one spelling.

    >>> in_order([2, 0, 2, 1]).tolist()
    [0, 1, 0, 2]
    """
    _, first, places = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places]


def total_of(effects: Any, labels: Any, *, overlapping: bool = False) -> float:
    """What a partition is worth: the sum over its cells."""
    return float(cell_values(effects, masks_of(labels), overlapping=overlapping).sum())
