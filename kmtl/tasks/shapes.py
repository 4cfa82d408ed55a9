"""Shapes of which a side may vary."""

import math
from collections.abc import Sequence


def same_shape(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether two shapes agree, an unknown size with anything.

    >>> same_shape((None, 2), (8, 2)), same_shape((8,), (8, 1))
    (True, False)
    """
    known = all(a is None or b is None or a == b for a, b in zip(shape, wanted, strict=False))
    return len(shape) == len(wanted) and known


def known_shape(shape: Sequence[int | None], side: int = 1) -> tuple[int, ...]:
    """A shape with a size for every side that varies.

    >>> known_shape((None, 2))
    (1, 2)
    """
    return tuple(side if size is None else size for size in shape)


def elements_of(shape: Sequence[int | None]) -> int:
    """Number of elements of a shape; a side that varies counts as several."""
    return math.prod(known_shape(shape, 2))
