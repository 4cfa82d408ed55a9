"""Eigenvalues and eigenvectors of a Gramian, small ones included."""

import math
from typing import Any

from keras import ops

from kmtl._types import Tensor


def eigenpairs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues `(K,)`, at least 0 and in no order, and eigenvectors `(K, K)`, one a row.

    Jacobi's method: every pair of rows in turn is rotated until their product
    is 0, all disjoint pairs of a round at once. Unlike the usual `eigh`, it
    finds an eigenvalue a million times below the largest to the accuracy of
    float32, if rows of unlike length are the only reason that it is small
    (Demmel and Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix
    Anal. Appl., 1992). A row of zeros keeps its own eigenvector, with eigenvalue 0.

    Args:
        gram: Symmetric, positive semi-definite, `(K, K)`.

    >>> values, vectors = eigenpairs(ops.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> sorted(round(float(value), 4) for value in values)
    [1.0, 3.0]
    """
    count = gram.shape[0]
    size = ops.max(ops.diagonal(gram))
    size = ops.where(size > 0, size, 1.0)
    rounds = ops.array(_partners(count), dtype="int32")
    start = (gram / size, ops.eye(count))
    # Convergence is quadratic after about log2(K) sweeps; one rotation settles two rows.
    sweeps = 1 if count <= 2 else 4 + math.ceil(math.log2(count))
    turns = sweeps * rounds.shape[0]

    def meet(turn: Any, state: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        return _rotate(*state, partner=ops.take(rounds, turn % rounds.shape[0], axis=0))

    matrix, vectors = ops.fori_loop(0, turns, meet, start)
    return ops.maximum(ops.diagonal(matrix), 0.0) * size, vectors


def _partners(count: int) -> list[list[int]]:
    """The rounds of a tournament: in each everyone meets one other; who has nobody meets themselves."""
    seats = list(range(count)) + [-1] * (count % 2)
    rounds = []
    for _ in range(max(len(seats) - 1, 1)):
        partner = list(range(count))
        for one, other in zip(seats, reversed(seats), strict=True):
            if one >= 0 and other >= 0:
                partner[one] = other
        rounds.append(partner)
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return rounds


def _rotate(matrix: Tensor, vectors: Any, partner: Any) -> tuple[Tensor, Tensor]:
    """One round: each row turned within the plane of its partner and itself."""
    count = matrix.shape[0]
    rows = ops.arange(count, dtype="int32")
    pair = (rows[:, None] == partner[None, :]) & (rows != partner)[None, :]
    diagonal = ops.diagonal(matrix)
    product = ops.sum(ops.where(pair, matrix, 0.0), axis=1)
    tangent = _tangent(ops.take(diagonal, partner) - diagonal, product, rows < partner)
    cosine = 1.0 / ops.sqrt(1.0 + ops.square(tangent))

    def turned(of: Any) -> Tensor:
        return cosine[:, None] * (of - tangent[:, None] * ops.take(of, partner, axis=0))

    both = turned(ops.transpose(turned(matrix)))
    # These entries are known without cancellation.
    both = ops.where(pair, 0.0, both)
    both = ops.where(ops.eye(count) > 0, (diagonal - tangent * product)[:, None], both)
    return both, turned(vectors)


def _tangent(difference: Any, product: Any, first: Any) -> Tensor:
    """Tangent of the smaller angle that makes the product of two rows vanish; opposite for the two of a pair."""
    sign = ops.where((difference > 0) | (ops.equal(difference, 0.0) & first), 1.0, -1.0)
    # Relative to the larger, so that no square leaves float32.
    large = ops.maximum(ops.abs(difference), 2.0 * ops.abs(product))
    large = ops.where(large > 0, large, 1.0)
    side, other = ops.abs(difference) / large, 2.0 * product / large
    length = side + ops.sqrt(ops.square(side) + ops.square(other))
    return sign * other / ops.where(length > 0, length, 1.0)
