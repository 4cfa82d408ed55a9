"""Which labels are alike: the strata that a split keeps in proportion."""

from typing import Any

import numpy as np

# Whole numbers of which no more differ than these stand each for itself.
MOST_WHOLE = 64


def strata(labels: Any, present: Any, bins: int, *, whole: bool, dense_axes: int) -> Any:
    """Tells which rows belong to which stratum.

    Each element of a label has a stratum a value, or a bin between quantiles where more values differ than there are
    bins (whole numbers: more than 64), and one for "missing". A label on places, as a map's, belongs to the strata of
    all of its places. Strata that hold no row, or all, are left out: they tell nothing.

    Args:
        labels: Array `(rows, places..., elements...)`.
        present: Which elements are there, of the same shape.
        bins: Number of bins.
        whole: Whether labels are whole numbers.
        dense_axes: How many axes behind the first count places.

    Returns:
        Booleans `(rows, strata)`.

    >>> strata(np.array([2, 2, 5, -1]), np.array([True, True, True, False]), 3, whole=True, dense_axes=0).astype(int)
    array([[1, 0, 0],
           [1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    places = int(np.prod(labels.shape[1 : 1 + dense_axes]))
    elements = int(np.prod(labels.shape[1 + dense_axes :]))
    flat = (len(labels), places, elements)
    labels, present = labels.reshape(flat), present.reshape(flat)
    columns = []
    for element in range(elements):
        there = present[:, :, element]
        codes = np.where(there, _codes(labels[:, :, element], there, bins, MOST_WHOLE if whole else bins), -1)
        columns += [(codes == code).any(axis=1) for code in (*range(codes.max(initial=-1) + 1), -1)]
    found = np.stack(columns, axis=1) if columns else np.zeros((len(labels), 0), bool)
    return found[:, found.any(axis=0) & ~found.all(axis=0)]


def _codes(values: Any, there: Any, bins: int, most: int) -> Any:
    """A number from 0 for each value that is there."""
    distinct = np.unique(values[there])
    if len(distinct) <= most:
        return np.searchsorted(distinct, values)
    edges = np.unique(np.quantile(values[there], np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")
