"""The best partition of tasks into few cells: all of them tried, or the best of many climbs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.grouping.partition_values import cell_values, in_order, masks_of, tolerance, total_of

# All partitions of as many tasks are tried: 21147 of nine.
EXACT = 9
_SHAKES = 12


class Found(NamedTuple):
    """A partition.

    Attributes:
        labels: The cell of each task, `(K,)`, numbered by their first tasks.
        total: What it is worth.
        bound: What no partition can exceed.
        is_proven: Whether none is worth more.
    """

    labels: Any
    total: float
    bound: float
    is_proven: bool


@functools.cache
def partitions(count: int, most: int) -> Any:
    """All partitions of tasks into a number of cells at most, fewer cells first, then by the cells of the first tasks.

    Args:
        count: How many tasks, K.
        most: How many cells at most.

    Returns:
        Labels, `(partitions, K)`.

    >>> partitions(3, 2).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    """
    grown: list[tuple[int, ...]] = [(0,)]
    for _ in range(count - 1):
        grown = [(*labels, cell) for labels in grown for cell in range(min(max(labels) + 2, most))]
    return np.array(sorted(grown, key=lambda labels: (max(labels), labels)), "int8")


@functools.cache
def _codes(count: int, most: int) -> Any:
    """The cells of all partitions as bits, `(partitions, most)`."""
    bits = 1 << np.arange(count)
    return ((partitions(count, most)[:, None] == np.arange(most)[:, None]) * bits).sum(axis=-1)


def all_totals(effects: Any, most: int, *, overlapping: bool = False) -> Any:
    """What each partition of `partitions` is worth."""
    count = len(effects)
    cells = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1 == 1
    return cell_values(effects, cells, overlapping=overlapping)[_codes(count, most)].sum(axis=-1)


def enumerated(effects: Any, most: int, *, overlapping: bool = False) -> Found:
    """The best of all partitions; of equal ones that of the fewest cells, of these the first.

    >>> effects = np.array([[0.0, 0.5, -0.1], [0.5, 0.0, -0.1], [-0.1, -0.1, 0.0]])
    >>> enumerated(effects, 3).labels.tolist()
    [0, 0, 1]
    """
    totals = all_totals(effects, most, overlapping=overlapping)
    best = int(np.argmax(totals >= totals.max() - tolerance(effects)))
    labels = partitions(len(effects), most)[best].astype(int)
    return Found(labels, float(totals[best]), float(totals[best]), True)


def climbed(effects: Any, most: int, *, overlapping: bool = False, start: Any = None) -> Any:
    """Labels of a good partition: from one cell, from cells merged in pairs, and from a start, by moves of one task.

    Args:
        effects: As of `cell_values`.
        most: How many cells at most.
        overlapping: As of `cell_values`.
        start: Labels; None begins without.
    """
    value, close = functools.partial(cell_values, effects, overlapping=overlapping), tolerance(effects)
    count = len(effects)
    merged = _merged(value, np.eye(count, dtype=bool), most, 0.0)
    starts = [np.zeros(count, int), merged, *([] if start is None else [start])]
    best = max(
        (_moved(value, labels, most, close) for labels in starts),
        key=lambda labels: round(total_of(effects, labels, overlapping=overlapping) / close),
    )
    # Of partitions that are worth the same, one with fewer cells.
    return in_order(_merged(value, masks_of(in_order(best)), count, close))


def shaken(effects: Any, most: int, *, overlapping: bool = False, seed: int = 0) -> Any:
    """Labels of the best of many climbs, each from the best so far with a few tasks thrown anywhere."""
    random, count = np.random.default_rng(seed), len(effects)
    total = functools.partial(total_of, effects, overlapping=overlapping)
    best = climbed(effects, most, overlapping=overlapping)
    for _ in range(_SHAKES):
        is_thrown = random.random(count) < max(0.2, 3 / count)
        thrown = np.where(is_thrown, random.integers(min(most, count), size=count), best)
        found = climbed(effects, most, overlapping=overlapping, start=in_order(thrown))
        if total(found) > total(best) + tolerance(effects):
            best = found
    return best


def _merged(value: Callable[[Any], Any], cells: Any, most: int, close: float) -> Any:
    """Labels of cells of which the two that gain most are merged, until few are left and every merger loses."""
    now = value(cells)
    pairs = value((cells[:, None] | cells).reshape(-1, cells.shape[1])).reshape(len(cells), len(cells))
    while len(cells) > 1:
        gains = np.where(np.tri(len(cells), dtype=bool), -np.inf, pairs - now - now[:, None])
        one, other = np.unravel_index(int(np.argmax(gains)), gains.shape)
        if len(cells) <= most and gains[one, other] < -close:
            break
        cells[one] |= cells[other]
        now[one] = pairs[one, other]
        cells, now = np.delete(cells, other, axis=0), np.delete(now, other)
        pairs = np.delete(np.delete(pairs, other, axis=0), other, axis=1)
        pairs[one] = pairs[:, one] = value(cells | cells[one])
    return np.argmax(cells, axis=0)


def _moved(value: Callable[[Any], Any], labels: Any, most: int, close: float) -> Any:
    """Moves the task that gains most from its cell to another, or to an empty one, until none gains."""
    count = len(labels)
    cells = np.zeros((min(most, count), count), bool)
    cells[labels, np.arange(count)] = True
    flips = np.eye(count, dtype=bool)
    # Of each cell what it would be worth with each task in or out: only those of two cells change by a move.
    flipped = np.stack([value(cell ^ flips) for cell in cells])
    now = value(cells)
    while True:
        own = np.argmax(cells, axis=0)
        left = flipped[own, np.arange(count)] - now[own]
        gains = np.where(cells, -np.inf, flipped - now[:, None] + left)
        cell, task = np.unravel_index(int(np.argmax(gains)), gains.shape)
        if gains[cell, task] <= close:
            return own
        for changed in (cell, own[task]):
            cells[changed, task] ^= True
            flipped[changed], now[changed] = value(cells[changed] ^ flips), value(cells[changed][None])[0]
