"""Pairs out of a labelled set: the same or not, by a label map that both sides share."""

from typing import Any, NamedTuple

import numpy as np

from kmtl._checks import Refusals, is_number, some, whole, words

_OWNER = "pairs"


class Pairs(NamedTuple):
    """Rows that make pairs.

    Attributes:
        first: Row of the first of each pair, `(count,)`.
        second: Row of the second, `(count,)`.
        same: 1 where both have one label, else 0, `(count,)`, int32.
    """

    first: Any
    second: Any
    same: Any


def pairs(labels: Any, other: Any = None, *, count: int, share: float = 0.5, seed: int = 0) -> Pairs:
    """Draws pairs of rows, so many of one label and so many of two, the same ones for the same seed.

    A pair of one label has a label drawn evenly from those that can make one, a pair of two has two different ones, so
    that rare labels are met as often as others. A row may stand in several pairs, but never beside itself. A row
    without a label (-1, NaN, None) stands in none.

    Args:
        labels: Labels of the rows, numbers or text, `(n,)`.
        other: Labels of the rows that the second of each pair comes from, as of a set of another sort; None takes them
            from the same rows. A label means the same in both: it is compared as it is.
        count: Number of pairs.
        share: Share of pairs that are the same, from 0 to 1.
        seed: Of the draw.

    Returns:
        `Pairs(first, second, same)`: rows of the one set and of the other.

    Raises:
        ValueError: If pairs of one label or of two are wanted and the labels make none, or an argument is not fit.

    >>> drawn = pairs(["cat", "dog", "cat", "dog", None], count=4, seed=1)
    >>> names = np.array(["cat", "dog", "cat", "dog"])
    >>> (names[drawn.first] == names[drawn.second]).tolist() == drawn.same.astype(bool).tolist(), int(drawn.same.sum())
    (True, 2)
    """
    count = whole(_OWNER, "count", count, 1)
    with Refusals(_OWNER) as refusals:
        if not is_number(share) or not 0 <= share <= 1:
            refusals.add("share", "must be a number from 0 to 1", share)
        first = _by_label(refusals, "labels", labels)
        second = first if other is None else _by_label(refusals, "other", other)
        refusals.check()
        number = round(share * count)
        got = words(some(first.labels) + ("" if other is None else f"; in `other` {some(second.labels)}"))
        if number and not _alike(first, second):
            rule = "must hold two rows of one label" if other is None else "must share a label with `other`"
            refusals.add("labels", rule, got, "share=0.0 draws pairs of two labels alone.")
        if number < count and not _unlike(first, second):
            refusals.add("labels", "must hold two different labels", got, "share=1.0 draws pairs of one label alone.")
    random = np.random.default_rng(seed)
    parts = [_drawn_alike(first, second, number, random), _drawn_unlike(first, second, count - number, random)]
    order = random.permutation(count)
    one, two = (np.concatenate([part[side] for part in parts])[order] for side in (0, 1))
    return Pairs(one, two, (order < number).astype("int32"))


class _Rows(NamedTuple):
    """The rows of one side, sorted by label.

    Attributes:
        labels: The labels, sorted.
        rows: Row numbers.
        starts: Where each label's rows begin among them.
        sizes: How many each has.
    """

    labels: list[Any]
    rows: Any
    starts: Any
    sizes: Any

    def drawn(self, labels: Any, random: np.random.Generator, beside: Any = None) -> Any:
        """Places among `rows`, one for each place of a label; never those of `beside`, which have that label too."""
        starts, sizes = self.starts[labels], self.sizes[labels]
        if beside is None:
            return starts + random.integers(sizes)
        return starts + (beside - starts + 1 + random.integers(sizes - 1)) % sizes


def _by_label(refusals: Refusals, argument: str, labels: Any) -> _Rows:
    """Rows by label; or records what is no list of labels."""
    values = np.asarray(labels)
    if values.ndim != 1 or not values.size:
        refusals.add(argument, "must hold one label a row, (n,)", words(f"shape {values.shape}"))
    there = np.array([one is not None and one == one and one != -1 for one in values.reshape(-1).tolist()], bool)
    rows = np.flatnonzero(there)
    known = values.reshape(-1)[rows]
    found, places, sizes = np.unique(
        known.astype(str) if known.dtype == object else known, return_inverse=True, return_counts=True
    )
    return _Rows(found.tolist(), rows[np.argsort(places, kind="stable")], np.cumsum(sizes) - sizes, sizes)


def _alike(first: _Rows, second: _Rows) -> list[tuple[int, int]]:
    """Places of the labels of which a pair can be made, in the one side and in the other."""
    enough = 2 if first is second else 1
    places = {label: place for place, label in enumerate(second.labels)}
    return [
        (place, places[label])
        for place, label in enumerate(first.labels)
        if label in places and first.sizes[place] >= enough
    ]


def _unlike(first: _Rows, second: _Rows) -> list[tuple[int, int]]:
    """Places of the labels that have another one to be paired with; beside each its place there, -1 if it is none."""
    places = {label: place for place, label in enumerate(second.labels)}
    return [
        (place, places.get(label, -1))
        for place, label in enumerate(first.labels)
        if len(second.labels) > (label in places)
    ]


def _drawn_alike(first: _Rows, second: _Rows, count: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Rows of pairs of one label."""
    labels = random.choice(np.reshape(_alike(first, second), (-1, 2)), count) if count else np.zeros((0, 2), int)
    ones = first.drawn(labels[:, 0], random)
    others = second.drawn(labels[:, 1], random, beside=ones if first is second else None)
    return first.rows[ones], second.rows[others]


def _drawn_unlike(first: _Rows, second: _Rows, count: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Rows of pairs of two labels."""
    labels = random.choice(np.reshape(_unlike(first, second), (-1, 2)), count) if count else np.zeros((0, 2), int)
    own = labels[:, 1]
    # One of the others: those behind the label's own place move up by one.
    others = random.integers(len(second.labels) - (own >= 0))
    others += (own >= 0) & (others >= own)
    return first.rows[first.drawn(labels[:, 0], random)], second.rows[second.drawn(others, random)]
