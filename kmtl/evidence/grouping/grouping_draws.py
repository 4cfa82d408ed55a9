"""How sure a grouping is: what becomes of it when affinities are drawn again within their intervals."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.grouping.group_effects import NORMAL, Effects
from kmtl.evidence.grouping.partition_search import EXACT, all_totals, climbed, partitions
from kmtl.evidence.grouping.partition_values import helpers, in_order, masks_of, tolerance, total_of


class Grouping(NamedTuple):
    """Who is trained with whom.

    Attributes:
        labels: The group that serves each task, `(K,)`.
        members: The tasks of each group, booleans `(groups, K)`.
    """

    labels: Any
    members: Any

    @classmethod
    def of(cls, effects: Any, labels: Any, *, overlapping: bool) -> "Grouping":
        """Makes the groups of a partition, with those that help it where groups may overlap."""
        cells = masks_of(labels)
        if overlapping:
            cells = np.stack([cell | helpers(effects, cell) for cell in cells])
        return cls(np.asarray(labels), cells)

    @property
    def company(self) -> Any:
        """Of each task, a column, which others are in the group that serves it, `(K, K)`."""
        return self.members[self.labels].T & ~np.eye(len(self.labels), dtype=bool)

    def scores(self, effects: Any) -> Any:
        """What the others of its group do to each task, on average: `(..., K)` of effects `(..., K, K)`."""
        company = self.company
        return (effects * company).sum(axis=-2) / np.maximum(company.sum(axis=0), 1)


class Draws:
    """Draws of the effects, and the best grouping of each.

    Attributes:
        effects: The draws, `(draws, K, K)`.
        best: What the best grouping of each is worth, `(draws,)`; of many tasks, the best of a few climbs.
        labels: The best groupings' labels, `(draws, K)`.
        luck: By how much more a best grouping is worth in the draw that it is chosen by than in the affinities that all
            are drawn from, on average: what choosing by a measurement makes it look better than it is.
    """

    def __init__(self, effects: Effects, most: int, labels: Any, *, overlapping: bool, count: int, seed: int) -> None:
        self.effects = effects.drawn(count, seed)
        found = [_best(one, most, labels, overlapping) for one in self.effects]
        self.labels = np.array([one for one, _ in found])
        self.best = np.array([total for _, total in found])
        kept = [total_of(effects.values, one, overlapping=overlapping) for one in self.labels]
        self.luck = float(np.mean(self.best - kept))

    def share_best(self, grouping: Grouping) -> float:
        """In what share of the draws none is worth more than a grouping."""
        close = np.array([tolerance(one) for one in self.effects])
        return float(np.mean(grouping.scores(self.effects).sum(axis=-1) >= self.best - close))

    def half(self, grouping: Grouping, other: Grouping | None = None) -> float:
        """Half the 95 % interval of the mean score of a grouping, or of its difference from another one."""
        scores = grouping.scores(self.effects).mean(axis=-1)
        return float(NORMAL * np.std(scores - (0.0 if other is None else other.scores(self.effects).mean(axis=-1))))

    def task_halves(self, grouping: Grouping) -> Any:
        """Half the 95 % interval of each task's score."""
        return NORMAL * np.std(grouping.scores(self.effects), axis=0)

    @property
    def together(self) -> Any:
        """In what share of the draws one group serves two tasks, `(K, K)`."""
        return (self.labels[:, :, None] == self.labels[:, None]).mean(axis=0)


def _best(effects: Any, most: int, labels: Any, overlapping: bool) -> tuple[Any, float]:
    """The best grouping of one draw: of all, or of climbs of which one begins at the chosen one."""
    if len(effects) > EXACT:
        found = climbed(effects, most, overlapping=overlapping, start=labels)
        return found, total_of(effects, found, overlapping=overlapping)
    totals = all_totals(effects, most, overlapping=overlapping)
    best = int(np.argmax(totals))
    return partitions(len(effects), most)[best], float(totals[best])


def next_best(effects: Any, most: int, labels: Any, *, overlapping: bool) -> Any:
    """Labels of the best partition beside the given one: of all, or of those that differ by one task; None of none."""
    if len(effects) <= EXACT:
        others = partitions(len(effects), most)
        totals = all_totals(effects, most, overlapping=overlapping)
    else:
        others = _neighbours(labels, most)
        totals = np.array([total_of(effects, one, overlapping=overlapping) for one in others])
    is_other = (others != labels).any(axis=1)
    return others[int(np.argmax(np.where(is_other, totals, -np.inf)))].astype(int) if is_other.any() else None


def _neighbours(labels: Any, most: int) -> Any:
    """Partitions in which one task is elsewhere, or two cells are one; the given one is among them."""
    cells, places = range(int(labels.max()) + 1), np.arange(len(labels))
    moved = [np.where(places == task, cell, labels) for task in places for cell in range(min(len(cells) + 1, most))]
    merged = [np.where(labels == other, one, labels) for one, other in itertools.combinations(cells, 2)]
    return np.array(sorted({tuple(in_order(one).tolist()) for one in [*moved, *merged]}))
