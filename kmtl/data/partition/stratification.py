"""Deals units to parts so that each part has its share of every stratum."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_ROUNDING = 1e-9


def part_sizes(rows: int, shares: Sequence[float]) -> list[int]:
    """Sizes that add up to all rows and differ from `rows * share` by less than one (largest remainders).

    >>> part_sizes(10, [0.5, 0.25, 0.25])
    [5, 3, 2]
    """
    exact = rows * np.asarray(shares, "float64") / np.sum(shares)
    sizes = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: rows - sizes.sum()]] += 1
    return sizes.tolist()


def deal(strata: Any, units: Any, shares: Sequence[float], seed: int) -> Any:
    """Deals units to parts by iterative stratification.

    The stratum that has the fewest units left goes first; each of its units goes to the part that lacks most of that
    stratum. (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML 2011.) Unlike there,
    what is less than one row of every part's share goes to the part that has filled least, not always to the largest:
    many rare strata would all end there. A part that is full takes no more, so that units of one row give exact sizes;
    larger ones come in order of what they hold of the stratum, the largest first, and go where there is most room if
    there is enough nowhere.

    Args:
        strata: Booleans `(rows, strata)`.
        units: The unit of each row, `(rows,)`, from 0.
        shares: The share of each part.
        seed: Of what is left to chance.

    Returns:
        The part of each unit, `(units,)`.
    """
    number = int(units.max()) + 1
    sizes = np.bincount(units, minlength=number)
    # A stratum more that holds all: it deals the units that are in no other.
    counts = np.zeros((number, strata.shape[1] + 1), np.int64)
    counts[:, -1] = sizes
    for stratum in range(strata.shape[1]):
        counts[:, stratum] = np.bincount(units, weights=strata[:, stratum], minlength=number)
    return _Deal(counts, sizes, shares, np.random.default_rng(seed)).run()


class _Deal:
    """Units on their way to parts.

    Args:
        counts: Rows of each unit in each stratum, `(units, strata)`.
        sizes: Rows of each unit.
        shares: The share of each part.
        chance: Where chance comes from.
    """

    def __init__(self, counts: Any, sizes: Any, shares: Sequence[float], chance: Any) -> None:
        self.counts = counts
        self.sizes = sizes
        self.chance = chance
        self.full = part_sizes(int(sizes.sum()), shares)
        self.room = list(self.full)
        self.wanted = [(counts.sum(axis=0) * share / sum(shares)).tolist() for share in shares]
        self.part = np.full(len(sizes), -1)
        self.left = (counts > 0).sum(axis=0)

    def run(self) -> Any:
        """Deals all."""
        while self.left[:-1].any():
            self._deal_stratum(int(np.argmin(np.where(self.left[:-1] > 0, self.left[:-1], np.iinfo(np.int64).max))))
        self._deal_stratum(len(self.left) - 1)
        return self.part

    def _deal_stratum(self, stratum: int) -> None:
        """Deals the units of one stratum that are still there."""
        units = self.chance.permutation(np.flatnonzero((self.part < 0) & (self.counts[:, stratum] > 0)))
        for unit in units[np.argsort(-self.counts[units, stratum], kind="stable")].tolist():
            part = self._best(stratum, int(self.sizes[unit]))
            self.part[unit] = part
            self.room[part] -= int(self.sizes[unit])
            held = np.flatnonzero(self.counts[unit])
            self.left[held] -= 1
            for other, rows in zip(held.tolist(), self.counts[unit, held].tolist(), strict=True):
                self.wanted[part][other] -= rows

    def _best(self, stratum: int, size: int) -> int:
        """The part that a unit goes to."""
        parts = [part for part, room in enumerate(self.room) if room >= size]
        if not parts:
            return int(np.argmax(self.room))
        noise = self.chance.random(len(self.room)).tolist()

        def need(part: int) -> tuple[float, bool, float, float]:
            wanted = self.wanted[part][stratum]
            return wanted if wanted > 1 - _ROUNDING else 0.0, wanted > _ROUNDING, self._emptiness(part), noise[part]

        return max(parts, key=need)

    def _emptiness(self, part: int) -> float:
        """How much of a part is still empty, in 0..1."""
        return self.room[part] / max(self.full[part], 1)
