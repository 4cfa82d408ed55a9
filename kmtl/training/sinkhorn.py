"""Scaling a matrix until its rows and columns sum to 1."""

from typing import Any

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from kmtl._checks import Refusals, words

# Rounds for a matrix that is not made of cosines.
MOST = 500
_FIX = "Every entry above 0 must lie on a diagonal of such entries: put numbers above 0 in the place of zeros."


def sinkhorn(matrix: Any, iterations: int = 200) -> Any:
    """Scales a matrix of non-negative numbers to a doubly stochastic one, `diag(r) A diag(c)`.

    Rows and columns are divided by their sums in turn, columns last, so that their sums are 1 to rounding, and those of
    the rows in the limit. Of a 2 x 2 matrix `[[a, b], [c, d]]` the limit has
    `sqrt(a d) / (sqrt(a d) + sqrt(b c))` on its diagonal.

    Source: Sinkhorn and Knopp, "Concerning nonnegative matrices and doubly stochastic matrices", Pacific Journal of
    Mathematics, 1967: the limit is of this form exactly for matrices with total support, those in which every
    entry above 0 lies on a diagonal of entries above 0. `check_scalable` refuses others.

    Args:
        matrix: `(K, K)`.
        iterations: How often rows and columns are divided at most.

    Returns:
        A tensor `(K, K)` of the same dtype.

    >>> ops.convert_to_numpy(sinkhorn(np.array([[4.0, 1.0], [1.0, 1.0]]))).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """
    matrix = ops.convert_to_tensor(matrix)
    tolerance = 8 * float(np.finfo(standardize_dtype(matrix.dtype)).eps)

    def is_rough(held: Any) -> Any:
        sums = ops.stack([ops.sum(held, axis=0), ops.sum(held, axis=1)])
        return ops.max(ops.abs(sums - 1.0)) > tolerance

    def scaled(held: Any) -> Any:
        held = held / ops.sum(held, axis=1, keepdims=True)
        return held / ops.sum(held, axis=0, keepdims=True)

    return ops.while_loop(is_rough, lambda held: (scaled(held),), (matrix,), maximum_iterations=iterations)[0]


def check_scalable(refusals: Refusals, argument: str, matrix: Any, *, tolerance: float = 1e-6) -> None:
    """Records that a matrix is none of non-negative numbers, or cannot be scaled, with the reason.

    Args:
        refusals: Where to record.
        argument: What the user calls it.
        matrix: What the user gave.
        tolerance: How far the sums of rows may be from 1.
    """
    try:
        values = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        refusals.add(argument, "must be a square matrix of numbers", words(type(matrix).__name__))
        return
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        refusals.add(argument, "must be a square matrix", words(f"shape {values.shape}"))
    elif not np.isfinite(values).all() or (values < 0).any():
        worst = values[~np.isfinite(values) | (values < 0)][0]
        refusals.add(argument, "must hold finite numbers of at least 0", float(worst), "For cosines, take their exp.")
    elif reason := _unscalable(values, tolerance):
        refusals.add(argument, "must be one whose rows and columns can be scaled to sum to 1", words(reason), _FIX)


def _unscalable(values: Any, tolerance: float) -> str:
    """Why a matrix of non-negative numbers cannot be scaled; empty if it can."""
    for name, axis in (("row", 1), ("column", 0)):
        zero = np.flatnonzero(values.sum(axis=axis) == 0)
        if len(zero):
            return f"zeros alone in {name} {zero[0]}"
    place = _without_diagonal(values > 0)
    if place is not None:
        return f"an entry at {place} that lies on no diagonal above 0"
    sums = ops.convert_to_numpy(sinkhorn(values, MOST)).sum(axis=1)
    apart = float(np.abs(sums - 1).max())
    return "" if apart <= tolerance else f"entries so far apart that rows still miss 1 by {apart:.1g}"


def _without_diagonal(positive: Any) -> tuple[int, int] | None:
    """The place of an entry that lies on no diagonal of entries above 0; None if there is none: total support."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

    matched = maximum_bipartite_matching(csr_matrix(positive), perm_type="column")
    if (matched < 0).any():
        row = int(np.flatnonzero(matched < 0)[0])
        return row, int(np.flatnonzero(positive[row])[0])
    # With one such diagonal in the place of the main one, an entry lies on another one if a cycle leads through it.
    parts = connected_components(csr_matrix(positive[:, matched]), connection="strong")[1]
    rows, columns = np.nonzero(positive[:, matched])
    crossing = np.flatnonzero(parts[rows] != parts[columns])
    return (int(rows[crossing[0]]), int(matched[columns[crossing[0]]])) if len(crossing) else None
