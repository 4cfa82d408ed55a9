"""What a measurement of affinities found: a number a pair, how sure it is, and what could not be measured."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl._figures import Picture
from kmtl._table import Result, Table
from kmtl.evidence.affinities.affinity_picture import heat_map
from kmtl.evidence.intervals import with_interval

# Share of conflicts that are found where there is none, over all pairs together.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True, repr=False)
class Affinity(Result):
    """How much the tasks of each pair have to do with each other.

    Attributes:
        kind: How it was measured; see `kmtl.evidence.affinity`.
        names: The tasks, in order, K.
        values: `(K, K)`; row i's effect on column j where the kind has a direction, else the same both ways. NaN where
            it could not be measured.
        halves: Half of the 95 % interval of each; NaN where there is none.
        measurable: Which pairs could be measured, `(K, K)`, booleans.
        counts: How many units each interval is over, `(K, K)`.
        over: What the units are: `"seeds"`, `"batches"`, or `"groups of rows"` of a jackknife.
        trainings: How many models were trained for it.
        seconds: Wall time.
        shares: Share of the batches in which the pair's gradients point against each other, `(K, K)`; of the kind
            `"gradient"` alone.
        signed: Pearson's r where both tasks have one number, with its sign, `(K, K)`; of associations alone.
        notes: What else is to be said, in words.

    >>> values = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> found = Affinity("gradient", ("digit", "angle"), values, 0 * values + 0.25, values > -1, values + 8, "seeds")
    >>> print(found.pair_table()[["task", "other", "affinity", "half"]])
        task  other  affinity  half
    0  digit  angle      -0.5  0.25
    >>> found.symmetric().tolist()
    [[1.0, -0.5], [-0.5, 1.0]]
    """

    kind: str
    names: tuple[str, ...]
    values: Any
    halves: Any
    measurable: Any
    counts: Any
    over: str
    trainings: int = 0
    seconds: float = float("nan")
    shares: Any = None
    signed: Any = None
    notes: tuple[str, ...] = ()

    @property
    def is_directed(self) -> bool:
        """Whether what i does to j and what j does to i are two numbers."""
        return self.kind in ("lookahead", "surrogate")

    @property
    def conflicts(self) -> list[tuple[str, str]]:
        """Pairs that hurt each other: below 0, by a one-sided t-test of each, corrected by Holm for all pairs together.

        Where nothing is below 0 the chance that any pair is named is at most 5 %, as far as the units are
        independent: seeds are; the batches of one model tell of that model alone. Of a directed kind (i, j) is: i
        hurts j.
        """
        from scipy import stats

        pairs = [pair for pair in self.pairs() if np.isfinite(self.halves[pair]) and self.halves[pair] > 0]
        freedom = np.array([max(self.counts[pair] - 1, 1) for pair in pairs])
        errors = np.array([self.halves[pair] for pair in pairs]) / stats.t.ppf(0.975, freedom)
        chances = stats.t.cdf(np.array([self.values[pair] for pair in pairs]) / errors, freedom)
        named = []
        for place, at in enumerate(np.argsort(chances)):
            if chances[at] > LEVEL / (len(pairs) - place):
                break
            named.append((self.names[pairs[at][0]], self.names[pairs[at][1]]))
        return named

    def pairs(self) -> list[tuple[int, int]]:
        """Places of the pairs: i before j, or both orders of a directed kind."""
        number = len(self.names)
        return [(i, j) for i in range(number) for j in range(number) if (i != j if self.is_directed else i < j)]

    def symmetric(self) -> Any:
        """The mean of both directions, `(K, K)`; what one direction of a pair lacks, the pair lacks."""
        return (self.values + self.values.T) / 2

    def ranked(self) -> list[tuple[str, str]]:
        """The pairs that could be measured, the closest first.

        Of a directed kind by the mean of both directions, each beside what other tasks do to the same one: a task that
        gains from any company, as one that overfits alone, is no closer to all others for it.
        """
        both = self.symmetric()
        if self.is_directed:
            others = np.where(np.eye(len(self.names), dtype=bool), np.nan, self.values)
            known = np.isfinite(others)
            means = np.where(known, others, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            both = (others - means + (others - means).T) / 2
        places = [(i, j) for i in range(len(self.names)) for j in range(i) if np.isfinite(both[i, j])]
        return [(self.names[j], self.names[i]) for i, j in sorted(places, key=lambda pair: -both[pair])]

    def parts(self) -> list[str | Table]:
        """The matrix, and what follows."""
        # Without a name of its own: a task may be called anything.
        rows: list[dict[str, Any]] = [
            {"": f"{name} on" if self.is_directed else name, **dict(zip(self.names, self._cells(i), strict=True))}
            for i, name in enumerate(self.names)
        ]
        trained = f", {self.trainings} training{'s' * (self.trainings != 1)}" if self.trainings else ""
        head = f"Affinity by {self.kind}; ± is 95 % over {self.over}{trained}."
        sentences = self._sentences()
        return [head, Table(rows, frame=self._frame()), *([""] if sentences else []), *sentences]

    def conclusions(self) -> list[str]:
        """What follows, in sentences."""
        return list(self._sentences())

    def _cells(self, i: int) -> list[str | None]:
        """A row of numbers with their intervals, but for that of the task with itself."""
        halves = np.where(np.arange(len(self.names)) == i, np.nan, self.halves[i])
        return [
            with_interval(value, half, self._form) if known and np.isfinite(value) else None
            for value, half, known in zip(self.values[i], halves, self.measurable[i], strict=True)
        ]

    @property
    def _form(self) -> str:
        """How numbers are written: to two digits of the largest between two tasks."""
        others = np.abs(self.values[~np.eye(len(self.names), dtype=bool)])
        largest = np.nanmax(others, initial=0.0, where=np.isfinite(others))
        return "z.2f" if largest >= 0.05 or largest == 0 else ".1e"

    def _frame(self) -> Any:
        """The matrix with the names on both sides."""
        import pandas as pd

        return pd.DataFrame(self.values, index=list(self.names), columns=list(self.names))

    def pair_table(self) -> Any:
        """A row a pair, as a pandas frame: the affinity, its half interval, whether and how often it was measured."""
        import pandas as pd

        matrices = {"affinity": self.values, "half": self.halves, "measurable": self.measurable, "units": self.counts}
        further = {"conflicting_batches": self.shares, "signed": self.signed}
        matrices |= {name: matrix for name, matrix in further.items() if matrix is not None}
        return pd.DataFrame(
            {"task": self.names[i], "other": self.names[j], **{name: part[i, j] for name, part in matrices.items()}}
            for i, j in self.pairs()
        )

    def _sentences(self) -> list[str]:
        """What follows, in words."""
        ranked, lines = self.ranked(), []
        if ranked:
            farthest = f" Farthest: {' and '.join(ranked[-1])}." if len(ranked) > 1 else ""
            lines.append(f"Closest: {' and '.join(ranked[0])}.{farthest}")
        conflicts = self.conflicts
        if conflicts:
            way = " hurts " if self.is_directed else " and "
            lines.append(f"In conflict, below 0 by the interval: {_listed(way.join(pair) for pair in conflicts)}.")
        lost = [pair for pair in self.pairs() if not self.measurable[pair]]
        if lost:
            lines.append(f"Not measurable: {_listed(f'{self.names[i]} and {self.names[j]}' for i, j in lost)}.")
        return [*lines, *self.notes]

    def pictures(self) -> Sequence[Picture]:
        """The matrix as a heat map."""
        text = "Rows act on columns. " if self.is_directed else ""
        return [Picture(f"Affinity by {self.kind}", heat_map(self), text + " ".join(self._sentences()))]

    def plot(self, path: Any = None) -> Any:
        """Draws the matrix as a heat map.

        Args:
            path: Where the picture goes; None writes none.

        Returns:
            The path, or without one the figure.
        """
        return _figures.save(heat_map(self), path)


def _listed(texts: Any) -> str:
    """The first texts, and how many more there are."""
    given = list(texts)
    more = len(given) - 6
    return "; ".join(given[:6]) + (f"; and {more} more" if more > 0 else "")
