"""The best partition of many tasks, with a bound that proves it or tells how far it may be from the best."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.grouping.partition_search import Found, shaken
from kmtl.evidence.grouping.partition_values import in_order, means, tolerance, total_of

_STEPS = 24


class _Node(NamedTuple):
    """Where the first tasks in order are, and what any completion is worth at most."""

    bound: float
    cells: Any
    placed: int


def branch_and_bound(
    effects: Any, most: int, *, overlapping: bool = False, time_limit: float = 30.0, seed: int = 0
) -> Found:
    """Searches all partitions, but for the branches whose bound is no better than the best one found.

    Tasks are placed one after another, into a cell that is there or a new one. What a completion of a node is worth is
    at most: for each cell, the best mean over its tasks that any of the further ones could give it; for each task that
    is not placed, the best mean that it could have in any of the cells, whoever else came. That the cells are few is
    told by a price, a multiplier of Lagrange: over all tasks `1 / size of its cell` sums to the number of cells, so
    that for each price p of at least 0

        worth <= p * most + sum over tasks of the largest over sizes s of (mean in a group of s - p / s).

    Args:
        effects: As of `cell_values`.
        most: How many cells at most.
        overlapping: As of `cell_values`.
        time_limit: In seconds; then the best one found is returned, with the largest bound of what was not searched.
        seed: Of the climbs that find the first one.

    >>> effects = np.kron(np.eye(5), np.ones((2, 2))) - np.eye(10)
    >>> found = branch_and_bound(effects, 5)
    >>> found.labels.tolist(), found.total, found.is_proven
    ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], 10.0, True)
    """
    end = time.monotonic() + time_limit
    labels = shaken(effects, most, overlapping=overlapping, seed=seed)
    # The sum over a partition does not change if two tasks' effects on each other are made alike; the bound is closer.
    known = np.asarray(effects) if overlapping else (np.asarray(effects) + np.transpose(effects)) / 2
    search = _Search(known, most, overlapping, labels)
    search.run(end)
    best = in_order(search.best)
    total = total_of(effects, best, overlapping=overlapping)
    return Found(best, total, max(search.open_bound, total), search.open_bound <= total + tolerance(effects))


class _Search:
    """A search in depth, the most promising branch first.

    Attributes:
        best: Labels of the best partition so far.
        total: What it is worth.
        open_bound: What one among those that were not searched may be worth at most; -inf if there are none.
    """

    def __init__(self, effects: Any, most: int, overlapping: bool, labels: Any) -> None:
        self.effects, self.most, self.overlapping = effects, most, overlapping
        self.best, self.close = labels, tolerance(effects)
        self.total = total_of(effects, labels, overlapping=overlapping)
        self.order = _order(effects, labels)
        self.open_bound = -np.inf
        self.prices = [0.0, _least(self._bound_at, float(np.abs(effects).sum(axis=0).max()))]

    def _bound_at(self, price: float) -> float:
        """The bound under one price where every cell of the best partition has its first task."""
        first = self.order[: self.best.max() + 1]
        cells = np.zeros((len(first), len(self.effects)), bool)
        cells[self.best[first], first] = True
        return self._bound(cells, self.order[len(first) :], [price])

    def run(self, end: float) -> None:
        """Searches until nothing is left, or to the end of the time."""
        count = len(self.effects)
        stack = [_Node(np.inf, np.zeros((0, count), bool), 0)]
        while stack:
            node = stack.pop()
            if node.bound <= self.total + self.close:
                continue
            if time.monotonic() > end and node.placed:
                self.open_bound = max(one.bound for one in [node, *stack])
                return
            if node.placed == count:
                self.best = np.argmax(node.cells, axis=0)
                self.total = total_of(self.effects, self.best, overlapping=self.overlapping)
                continue
            stack += sorted(self._children(node), key=lambda child: child.bound)

    def _children(self, node: _Node) -> list[_Node]:
        """The next task in each cell, and in one of its own; those that can be better than the best."""
        task, found = self.order[node.placed], []
        for cell in range(min(len(node.cells) + 1, self.most)):
            cells = np.zeros((max(len(node.cells), cell + 1), len(self.effects)), bool)
            cells[: len(node.cells)] = node.cells
            cells[cell, task] = True
            bound = self._bound(cells, self.order[node.placed + 1 :], self.prices)
            if bound > self.total + self.close:
                found.append(_Node(bound, cells, node.placed + 1))
        return found

    def _bound(self, cells: Any, left: Any, prices: list[float]) -> float:
        """What the partition is worth at most, whatever becomes of the tasks that are left; the least over prices."""
        members = cells.astype(float)
        helps, sizes = members @ self.effects.T, members.sum(axis=1)
        may_come = ~cells if self.overlapping else np.isin(np.arange(len(self.effects)), left) & ~cells
        placed = means((helps * members).sum(axis=1), sizes - 1, np.where(may_come, helps, -np.inf))
        found = [price * self.most + _priced(*placed, price * sizes).sum() for price in prices]
        if len(left):
            further = means(*self._of_left(members, may_come, left))
            for place, price in enumerate(prices):
                found[place] += _priced(*further, np.array([[price]])).max(axis=0).sum()
        return float(min(found))

    def _of_left(self, members: Any, may_come: Any, left: Any) -> tuple[Any, Any, Any]:
        """Of each task that is left, `(cells, left)`: what those in a cell give it, how many they are, who may come."""
        columns = self.effects[:, left]
        if len(members) < self.most:
            # A cell that is not there yet, of those that are left; who helps may be anywhere.
            comers = np.full(len(columns), True) if self.overlapping else np.isin(np.arange(len(columns)), left)
            may_come = np.concatenate([may_come, comers[None]])
            members = np.concatenate([members, np.zeros((1, len(columns)))])
        given = members @ columns
        further = np.where(may_come[:, None], columns.T, -np.inf)
        further[:, np.arange(len(left)), left] = -np.inf
        return given, np.broadcast_to(members.sum(axis=1)[:, None], given.shape), further


def _priced(values: Any, counts: Any, prices: Any) -> Any:
    """The largest over sizes of a mean less the price of a cell, which all in it share."""
    return (values - np.expand_dims(prices, -1) / (counts + 1)).max(axis=-1)


def _least(bound: Callable[[float], float], most: float) -> float:
    """The price from 0 to `most` of the least bound, a convex function of it; a step leaves out a third."""
    low, high = 0.0, most
    for _ in range(_STEPS):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, other) if bound(one) <= bound(other) else (one, high)
    return low


def _order(effects: Any, labels: Any) -> Any:
    """Tasks of different cells of a good partition first, those with the strongest effects before others."""
    strength = np.abs(effects).sum(axis=0) + np.abs(effects).sum(axis=1)
    rank = np.zeros(len(labels), int)
    for cell in range(labels.max() + 1):
        tasks = np.flatnonzero(labels == cell)
        rank[tasks[np.argsort(-strength[tasks], kind="stable")]] = np.arange(len(tasks))
    return np.lexsort((-strength, rank))
