"""Associations of all pairs of labels or outputs, with their intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.affinities.matrix_intervals import GROUPS, jackknife
from kmtl.tasks.association import association
from kmtl.tasks.variables import Variables

# Fewer rows with both labels leave no interval worth telling: two a group of the jackknife.
LEAST_ROWS = 2 * GROUPS


class Associations(NamedTuple):
    """Associations of K variables, `(K, K)` each.

    Attributes:
        values: Their sizes, 0 .. 1; NaN where one is not defined or rests on too few rows.
        halves: Half of the 95 % interval.
        signed: Pearson's r, of one number each alone.
    """

    values: Any
    halves: Any
    signed: Any


def associations(variables: Sequence[Variables]) -> Associations:
    """Measures every pair; the intervals are of a jackknife over groups of rows.

    Of a square corrected for chance, which may be below 0, the interval is taken of the square and its upper end
    brought to the root, so that unrelated variables have an interval, too.

    Args:
        variables: Of the same rows.

    >>> x = np.random.default_rng(0).normal(size=(100, 1, 1))
    >>> found = associations([Variables(x, False), Variables(-x, False)])
    >>> found.values[0, 1].round(6), found.signed[0, 1].round(6)
    (np.float64(1.0), np.float64(-1.0))
    """
    number, rows = len(variables), len(variables[0].values)

    def estimate(chosen: Any) -> Any:
        found = np.full((2, number, number), np.nan)
        parts = [one._replace(values=one.values[chosen]) for one in variables]
        for i, j in zip(*np.triu_indices(number, 1), strict=True):
            found[:, i, j] = found[:, j, i] = association(parts[i], parts[j])
        return found

    (squares, signed), (wide, half) = jackknife(estimate, rows)
    roots = np.sqrt(np.maximum(squares, 0.0))
    is_signed = np.isfinite(signed)
    values = np.where(is_signed, np.abs(signed), roots)
    halves = np.where(is_signed, half, np.sqrt(np.maximum(squares, 0.0) + wide) - roots)
    sound = np.isfinite(values) & np.isfinite(halves) & (common_rows(variables) >= LEAST_ROWS)
    values, halves, signed = (np.where(sound, part, np.nan) for part in (values, halves, signed))
    np.fill_diagonal(values, 1.0)
    return Associations(values, halves, signed)


def common_rows(variables: Sequence[Variables]) -> Any:
    """How many rows have both of each pair, whole in some place, `(K, K)`."""
    there = [(~np.isnan(one.values)).all(axis=2).any(axis=1) for one in variables]
    known = np.stack(there).astype("float64")
    return known @ known.T
