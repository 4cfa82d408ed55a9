"""Points of a trade-off: which are worth having, and how much all of them cover."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl import _extras
from kmtl._checks import require, words

# Shares are sums of floats.
_SAME = 1e-9


def lattice(tasks: int, steps: int) -> Any:
    """All preferences whose numbers are multiples of `1 / steps`, in lexical order, `(points, tasks)`.

    >>> lattice(2, 4)[:, 0].tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> len(lattice(3, 4))
    15
    """
    cuts = itertools.combinations(range(steps + tasks - 1), tasks - 1)
    bars = [(-1, *cut, steps + tasks - 1) for cut in cuts]
    return np.array([[after - before - 1 for before, after in itertools.pairwise(bar)] for bar in bars]) / steps


def non_dominated(values: Any, directions: Sequence[str]) -> Any:
    """Tells which points no other is better than: at least as good everywhere and better somewhere.

    Args:
        values: `(points, objectives)`; a point with a NaN is dominated. Of equal points all are kept.
        directions: `"min"` or `"max"` for each objective.

    Returns:
        Booleans, `(points,)`.

    >>> non_dominated([[0.2, 0.9], [0.4, 0.5], [0.5, 0.6]], ["min", "min"]).tolist()
    [True, True, False]
    """
    moocore = _extras.load("moocore", "non_dominated")
    costs = _costs(values, directions)
    finite = np.isfinite(costs).all(axis=1)
    found = np.zeros(len(costs), bool)
    if finite.any():
        found[finite] = moocore.is_nondominated(costs[finite], keep_weakly=True)
    return found


def hypervolume(values: Any, reference: Any, directions: Sequence[str]) -> float:
    """The volume that points dominate within a reference point, in the product of the objectives' units.

    Compare volumes of one reference only; their ratio does not depend on the units.

    Args:
        values: `(points, objectives)`; points with a NaN, or not better than the reference everywhere, add nothing.
        reference: `(objectives,)`: what is barely acceptable.
        directions: `"min"` or `"max"` for each objective.

    >>> round(hypervolume([[0.2, 0.9], [0.4, 0.5], [0.9, 0.1], [0.5, 0.6]], [1.0, 1.0], ["min", "min"]), 3)
    0.36
    """
    moocore = _extras.load("moocore", "hypervolume")
    costs, corner = _costs(values, directions), _costs([reference], directions)[0]
    rule = "must hold a finite number for each objective"
    require(bool(np.isfinite(corner).all()), "hypervolume", "reference", rule, words(str(reference)))
    inside = costs[np.isfinite(costs).all(axis=1) & (costs < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0


def _costs(values: Any, directions: Sequence[str]) -> Any:
    """The values with those turned round of which more is better."""
    array = np.asarray(values, "float64")
    rule = "must be one of 'min' and 'max' for each column"
    good = array.ndim == 2 and len(directions) == array.shape[1] and set(directions) <= {"min", "max"}
    require(good, "points", "directions", rule, directions)
    return array * np.where(np.array(directions) == "max", -1.0, 1.0)


def rays(tasks: int) -> Any:
    """Preferences for many tasks, of which a lattice would have too many: the middle, and two steps to each corner.

    >>> rays(6).shape, rays(6)[1].round(3).tolist()
    ((13, 6), [0.583, 0.083, 0.083, 0.083, 0.083, 0.083])
    """
    middle, corners = np.full((1, tasks), 1 / tasks), np.eye(tasks)
    return np.concatenate([middle, (middle + corners) / 2, corners])


def violations(preferences: Any, losses: Any) -> tuple[int, int]:
    """Counts where more preference for a task does not make its loss smaller.

    Two points are compared for a task if the second gives it more and no other task more: then its loss should not be
    larger there.

    Args:
        preferences: `(points, tasks)`.
        losses: `(points, tasks)`.

    Returns:
        How many of the comparisons fail, and how many there are.
    """
    shares, found = np.asarray(preferences), np.asarray(losses)
    gains = shares[None] - shares[:, None]  # from the first point to the second
    more = gains > _SAME
    alone = more & (more.sum(axis=-1, keepdims=True) == 1)
    worse = found[None] > found[:, None]
    return int((alone & worse).sum()), int(alone.sum())
