"""Intervals of whole matrices: over rows by a jackknife, over batches or seeds by Student."""

from collections.abc import Callable
from typing import Any

import numpy as np

GROUPS = 20


def jackknife(estimate: Callable[[Any], Any], number: int) -> tuple[Any, Any]:
    """An estimate over all rows, with half its 95 % interval from leaving out each of 20 groups of rows in turn.

        s^2 = (G - 1)/G sum_g (estimate_g - their mean)^2,    half = t(0.975, G - 1) s

    Row i is in group i mod G. The delete-a-group jackknife: Shao and Tu, "The Jackknife and Bootstrap", 1995.

    Args:
        estimate: Of an array of rows' places: a number or an array; NaN where it is not defined.
        number: How many rows there are.

    Returns:
        The estimate, and the halves; NaN where it is not defined without some group.

    >>> values = np.random.default_rng(0).normal(size=400)
    >>> mean, half = jackknife(lambda rows: values[rows].mean(), 400)
    >>> bool(abs(half / (2.093 * values.std() / 20) - 1) < 0.3)  # of a mean it is the interval of the mean
    True
    """
    from scipy import stats

    rows = np.arange(number)
    left = np.stack([estimate(rows[rows % GROUPS != group]) for group in range(GROUPS)])
    spread = np.sqrt((GROUPS - 1) / GROUPS * np.sum((left - left.mean(axis=0)) ** 2, axis=0))
    return estimate(rows), stats.t.ppf(0.975, GROUPS - 1) * spread


def student(found: Any) -> tuple[Any, Any, Any]:
    """Means of several matrices, half of their 95 % Student intervals, and how many numbers each is over.

    Args:
        found: `(units, ...)`, NaN where a unit tells nothing.

    Returns:
        Means, NaN of none; halves, NaN of fewer than two; counts.

    >>> [part.round(3).tolist() for part in student(np.array([[1.0, np.nan], [2.0, 5.0], [3.0, np.nan]]))]
    [[2.0, 5.0], [2.484, nan], [3, 1]]
    """
    from scipy import stats

    known = np.isfinite(found)
    counts = known.sum(axis=0)
    means = np.where(counts > 0, np.where(known, found, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)
    squares = np.where(known, (found - means) ** 2, 0.0).sum(axis=0)
    errors = np.sqrt(squares / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
    return means, np.where(counts > 1, stats.t.ppf(0.975, np.maximum(counts - 1, 1)) * errors, np.nan), counts
