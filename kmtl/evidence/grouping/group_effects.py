"""What a measured affinity says of the tasks' effects on each other: numbers above the level of unrelated tasks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl._checks import Refusals, is_number, words

# The sign says how labels go together; what helps a shared trunk is that they do.
_UNSIGNED = ("label", "output")
# Unrelated features are alike by more than 0: by how much depends on rows and width.
_WITHOUT_ZERO = ("representation",)
# Half a 95 % interval of a normal number, in standard deviations.
NORMAL = 1.959964


class Effects(NamedTuple):
    """Effects of tasks on each other.

    Attributes:
        names: Names of the tasks, K.
        values: `(K, K)`: of the task of the row on that of the column, above the level of unrelated tasks; 0 on the
            diagonal and where it could not be measured.
        halves: Half their 95 % intervals; 0 where there is none.
        measured: As they were given, NaN where nothing was measured.
        level: The affinity of unrelated tasks.
        unmeasured: Pairs of names of which at least one direction could not be measured.
        kind: Of the affinity; empty of an array.
    """

    names: tuple[str, ...]
    values: Any
    halves: Any
    measured: Any
    level: float
    unmeasured: tuple[tuple[str, str], ...]
    kind: str

    @property
    def has_intervals(self) -> bool:
        """Whether there is any."""
        return bool((self.halves > 0).any())

    def drawn(self, count: int, seed: int) -> Any:
        """Effects as they might have been measured, normal within their intervals, `(count, K, K)`.

        Of a symmetric affinity both directions are the same number.
        """
        noise = np.random.default_rng(seed).normal(size=(count, *self.values.shape))
        if all(np.allclose(part, part.T, rtol=1e-6, atol=0) for part in (self.values, self.halves)):
            noise = np.triu(noise, 1) + np.swapaxes(np.triu(noise, 1), 1, 2)
        return self.values + noise * self.halves / NORMAL


def effects_of(affinity: Any, names: Sequence[str] | None = None, unrelated: float | None = None) -> Effects:
    """Reads an affinity, or an array with names.

    Args:
        affinity: What `kmtl.evidence.affinity` returned, or an array `(K, K)`.
        names: Of the tasks of an array.
        unrelated: The level of unrelated tasks; None takes the kind's own, see `kmtl.evidence.groups`.

    Raises:
        ValueError: With all offenders.

    >>> effects_of([[1.0, 0.5], [0.25, 1.0]], ["digit", "angle"]).values.tolist()
    [[0.0, 0.5], [0.25, 0.0]]
    """
    is_array = not hasattr(affinity, "names")
    kind = "" if is_array else str(affinity.kind)
    with Refusals("groups") as refusals:
        given = _numbers(refusals, affinity if is_array else affinity.values)
        if not is_array and names is not None:
            refusals.add("names", "must be left out: the affinity has them", list(names))
        known = list((names or ()) if is_array else affinity.names)
        _check(refusals, given, known, unrelated)
    off = ~np.eye(len(given), dtype=bool)
    given[~off] = np.nan
    if not is_array:
        given[~np.asarray(affinity.measurable, bool)] = np.nan
    shown, there = np.abs(given) if kind in _UNSIGNED else given, np.isfinite(given)
    level = _level(shown, kind) if unrelated is None else float(unrelated)
    halves = np.zeros_like(given) if is_array else np.nan_to_num(np.asarray(affinity.halves, float))
    without = np.argwhere(np.triu(~there | ~there.T, 1))
    pairs = tuple((known[one], known[other]) for one, other in without)
    values = np.where(there, np.nan_to_num(shown) - level, 0.0)
    return Effects(tuple(known), values, np.where(there, halves, 0.0), given, level, pairs, kind)


def _level(values: Any, kind: str) -> float:
    """The level of unrelated tasks: 0, or the mean of all pairs for what has no zero of its own."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if kind in _WITHOUT_ZERO and known.size else 0.0


def _numbers(refusals: Refusals, values: Any) -> Any:
    """An array of its own; records what holds no numbers."""
    try:
        return np.array(values, float)
    except (TypeError, ValueError):
        refusals.add("affinity", "must be an array of numbers", words(type(values).__name__))
        refusals.check()


def _check(refusals: Refusals, values: Any, names: list[str], unrelated: Any) -> None:
    """Records what is no square of numbers with a name each."""
    fix = "As kmtl.evidence.affinity(...) gives it, or an array (K, K) with names=."
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        refusals.add("affinity", "must be square, (K, K), of two tasks or more", words(f"shape {values.shape}"), fix)
    elif np.isinf(values).any():
        refusals.add("affinity", "must hold finite numbers, or NaN where nothing is known", words("infinite ones"), fix)
    elif len(names) != len(values):
        refusals.add("names", f"must hold a name for each of {len(values)} tasks", names or None)
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        refusals.add("names", "must hold different names of tasks", names)
    if unrelated is not None and not is_number(unrelated):
        refusals.add("unrelated", "must be a finite number or None", unrelated)
