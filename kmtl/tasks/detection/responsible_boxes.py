"""Which box of its cell answers for an object."""

from typing import Any

from keras import ops

from kmtl.tasks.detection.layout import same_cell

_FAR = 1e9


def responsible(cost: Any, cell: Any, there: Any) -> Any:
    """Gives each object a box of its cell: the cheapest that no object of the cell wants more.

    In each of as many rounds as a cell has boxes every object without one asks for the cheapest that is free, and the
    one of least cost gets it, the first of equal ones: a cell of no more objects than boxes serves all of them.

    Args:
        cost: Of each box of the object's cell, `(batch, rows, boxes)`.
        cell: Number of the object's cell, `(batch, rows)`.
        there: Whether the row holds an object, `(batch, rows)`.

    Returns:
        Number of the box, int32 `(batch, rows)`; -1 where no box is left or no object is there.

    >>> cost = ops.array([[[0.1, 0.5], [0.2, 0.9]]])
    >>> responsible(cost, ops.array([[3, 3]]), ops.array([[True, True]])).numpy().tolist()
    [[0, 1]]
    """
    together = same_cell(cell, there)
    before = ops.tril(ops.ones_like(together), k=-1)
    boxes = cost.shape[-1]
    found = ops.full_like(cell, -1)
    taken = ops.zeros_like(cost, dtype="bool")
    for _ in range(boxes):
        left = ops.where(taken, _FAR, cost)
        best = ops.cast(ops.argmin(left, axis=-1), "int32")
        least = ops.min(left, axis=-1)
        asks = there & (found < 0) & (least < _FAR)
        wins = asks & ~_outbid(best, least, together & ops.expand_dims(asks, -2), before)
        found = ops.where(wins, best, found)
        gone = ops.one_hot(best, boxes, dtype="bool") & ops.expand_dims(wins, -1)
        taken = taken | ops.any(ops.expand_dims(together, -1) & ops.expand_dims(gone, -3), axis=2)
    return found


def _outbid(best: Any, least: Any, rivals: Any, before: Any) -> Any:
    """Whether another object of the cell that asks for the same box has a lower cost, or the same and comes first."""
    same = rivals & ops.equal(ops.expand_dims(best, -1), ops.expand_dims(best, -2))
    mine, theirs = ops.expand_dims(least, -1), ops.expand_dims(least, -2)
    return ops.any(same & ((theirs < mine) | (ops.equal(theirs, mine) & before)), axis=-1)
