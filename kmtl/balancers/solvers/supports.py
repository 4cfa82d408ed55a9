"""Which tasks take part in an optimum: found exactly, by the signs on each candidate.

The problems of MGDA, SDMGrad, CAGrad, UPGrad and DualProj have one form. On the
right support their values solve a linear system; off it their slacks are not negative.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from keras import ops

from kmtl._types import Tensor

#: Up to this many tasks every support is tried.
ENUMERATED = 5
# Added to the diagonal of cosines, so that equal or opposite rows leave a system that can be solved.
_UNSETTLED = 0.01
_RIDGE = 1e-6
# What float32 leaves of a zero, relative to the largest element.
_TOLERANCE = 2e-6
_PATIENCE = 3

#: Values and slacks `(..., K)` of supports `(..., K)`; the second argument asks for all digits.
Evaluation = Callable[[Any, bool], tuple[Any, Any]]


def guard_solver(solver: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a solver of a Gramian return NaN for one that is not finite: on a CPU linear solves would raise.

    >>> solver = guard_solver(lambda gram, present: ops.solve(gram, ops.cast(present, "float32")[:, None])[:, 0])
    >>> float(solver(ops.array([[float("nan")]]), ops.array([True]))[0])
    nan
    """

    @wraps(solver)
    def guarding(gram: Tensor, *arguments: Any, **options: Any) -> Tensor:
        sound = ops.all(ops.isfinite(gram))
        found = solver(ops.where(sound, gram, ops.eye(gram.shape[0])), *arguments, **options)
        return ops.where(sound, found, float("nan"))

    return guarding


def solve_on(matrix: Tensor, support: Tensor, right: Tensor, refined: bool = True) -> Tensor:
    """Solves `matrix x = right` for the rows and columns of a support; `x` is 0 off it.

    A ridge of 1e-6 makes every system solvable; a step of refinement takes
    its bias out again where the system did not need it.

    Args:
        matrix: Symmetric, positive semidefinite, diagonal 1, `(K, K)`.
        support: Booleans `(..., K)`.
        right: `(..., K, R)`.
        refined: Whether to refine.

    Returns:
        `(..., K, R)`.

    >>> matrix, support = ops.array([[1.0, 0.5], [0.5, 1.0]]), ops.array([True, False])
    >>> [round(float(value), 4) for value in solve_on(matrix, support, ops.ones((2, 1)))[:, 0]]
    [1.0, 0.0]
    """
    inside = ops.where(support[..., :, None] & support[..., None, :], matrix, ops.eye(matrix.shape[0]))
    right = ops.where(support[..., None], right, 0.0)
    # The solver wants one system for each right side.
    system = inside + _RIDGE * ops.eye(matrix.shape[0]) + ops.zeros_like(right[..., :1])
    found = ops.solve(system, right)
    return found + ops.solve(system, right - ops.matmul(inside, found)) if refined else found


def violations(values: Tensor, slacks: Tensor, support: Tensor) -> Tensor:
    """By how much the sign of each value on the support, and each slack off it, is wrong, `(..., K)`.

    Relative to the largest value or slack of the candidate.

    >>> values, slacks = ops.array([2.0, 0.0]), ops.array([0.0, -1.0])
    >>> ops.convert_to_numpy(violations(values, slacks, ops.array([True, False]))).tolist()
    [0.0, 0.5]
    """
    size = ops.max(ops.maximum(ops.abs(values), ops.abs(slacks)), axis=-1, keepdims=True)
    wrong = ops.maximum(0.0, -ops.where(support, values, slacks))
    return wrong / ops.where(size > 0, size, 1.0)


def optimum(evaluate: Evaluation, start: Tensor, present: Tensor) -> Tensor:
    """Values at least 0 that solve the problem, a row each.

    Args:
        evaluate: Values and slacks of supports `(..., B, K)`.
        start: First support of each row, `(B, K)`.
        present: Booleans `(K,)`; the others are on no support.

    Returns:
        `(B, K)`; NaN where no support was found.
    """
    count = present.shape[0]
    support = (
        enumerate_supports(evaluate, present)
        if count <= ENUMERATED
        else pivot_supports(evaluate, start & present, present)
    )
    values, slacks = evaluate(support, True)
    wrong = ops.max(violations(values, slacks, support) * ops.cast(present, "float32"), axis=-1, keepdims=True)
    # Pivoting that did not settle is a failure, not an answer.
    return ops.where(wrong > _UNSETTLED, float("nan"), ops.maximum(values, 0.0))


def enumerate_supports(evaluate: Evaluation, present: Tensor) -> Tensor:
    """The support with the least violation of all `2^K`, a row each, `(B, K)`."""
    count = present.shape[0]
    bits = [[bool(number >> place & 1) for place in range(count)] for number in range(2**count)]
    supports = ops.array(bits, dtype="bool")[:, None, :] & present
    values, slacks = evaluate(supports, False)
    best = ops.argmin(ops.max(violations(values, slacks, supports), axis=-1), axis=0)
    return ops.take(supports[:, 0, :], best, axis=0)


def pivot_supports(evaluate: Evaluation, start: Tensor, present: Tensor) -> Tensor:
    """The support found by block principal pivoting, a row each, `(B, K)`.

    Every task on the wrong side changes it at once. Where that does not lessen
    their number for three turns, the last of them alone does, which ends
    certainly for a positive definite matrix. The turns end when no row is wrong.

    Source: Kim and Park, "Fast Nonnegative Matrix Factorization: An
    Active-Set-Like Method and Comparisons", SIAM J. Scientific Computing, 2011,
    after Júdice and Pires, 1994.
    """
    count = present.shape[0]
    places = ops.arange(count)

    def wrong_of(support: Tensor) -> Tensor:
        values, slacks = evaluate(support, False)
        return (violations(values, slacks, support) > _TOLERANCE) & present

    def unsettled(support: Tensor, wrong: Any, fewest: Any, patience: Any) -> Tensor:
        del support, fewest, patience
        return ops.any(wrong)

    def turn(support: Tensor, wrong: Any, fewest: Any, patience: Any) -> tuple[Any, ...]:
        number = ops.sum(ops.cast(wrong, "int32"), axis=-1)
        patience = ops.where(number < fewest, _PATIENCE, patience - 1)
        last = places == ops.max(ops.where(wrong, places, -1), axis=-1, keepdims=True)
        changing = wrong & (last | (patience >= 0)[:, None])
        support = ops.logical_xor(support, changing)
        return support, wrong_of(support), ops.minimum(fewest, number), patience

    rows = ops.zeros_like(start[:, 0], dtype="int32")
    state = (start, wrong_of(start), rows + count + 1, rows + _PATIENCE)
    return ops.while_loop(unsettled, turn, state, maximum_iterations=8 * count)[0]
