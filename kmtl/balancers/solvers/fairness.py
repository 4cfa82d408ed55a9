"""Weights that are fair in the sense of alpha-fairness, of which Nash's bargain is one."""

from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.signals import cosines, norms
from kmtl.balancers.solvers.supports import guard_solver

_MOST_TURNS = 40
# Newton's error after a step of this relative length is about its square.
_LAST_STEP = 1e-3
_RIDGE = 1e-6
_LARGEST_MISS = 0.01


@guard_solver
def fair_weights(gram: Tensor, present: Tensor, alpha: float) -> Tensor:
    """Solves `M w = w^(-1/alpha)` for `w > 0`.

    Then every task gains `<g_k, d> = w_k^(-1/alpha)` from `d = G'w`: with
    `alpha = 1` the product of the gains is largest (Nash), and the larger
    `alpha`, the more the worst gain counts.

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        alpha: Above 0; float32 has the digits for 0.1 to 10.

    Returns:
        `w`, `(K,)`; 0 where a task sits out. NaN where there is none: some combination of the gradients
        with weights of at least 0 vanishes, so that no direction gains for all.

    >>> gram, present = ops.array([[4.0, 0.0], [0.0, 1.0]]), ops.array([True, True])
    >>> [round(float(weight), 4) for weight in fair_weights(gram, present, 1.0)]
    [0.5, 1.0]
    """
    matrix, lengths, power = cosines(gram, present), norms(gram, present), 1.0 / alpha
    number = ops.maximum(ops.sum(ops.cast(present, "float32")), 1.0)
    # Any length between the shortest and the longest will do as the unit.
    unit = ops.exp(ops.sum(ops.where(present, ops.log(lengths), 0.0)) / number)
    lengths = lengths / unit
    # What the value y_k = w_k n_k of an orthogonal task would be.
    alone = ops.where(present, lengths ** ((power - 1.0) / (power + 1.0)), 1.0)
    pair = alpha == 1.0 and gram.shape[0] == 2
    factors = _nash_pair(matrix) if pair else fair_factors(matrix, alone, power)
    weights = factors * alone / lengths * unit ** (-2.0 / (1.0 + power))
    return ops.where(present, weights, 0.0)


def _nash_pair(matrix: Tensor) -> Tensor:
    """The closed form of two tasks, `1 / sqrt(1 + cos)`."""
    opening = 1.0 + matrix[0, 1]
    return ops.where(opening > _RIDGE, 1.0 / ops.sqrt(opening), float("nan")) * ops.ones((2,))


def fair_factors(matrix: Tensor, alone: Any, power: float) -> Tensor:
    """Solves `sum_j C_kj a_j z_j = a_k z_k^(-p)` for `z > 0` by damped Newton.

    It is the minimum of a convex function. A step is shortened by `1 + r`, where
    `r` is its largest relative change, so that every `z_k` stays positive.

    Args:
        matrix: Cosines `C`, `(K, K)`.
        alone: `a`, above 0, `(K,)`.
        power: `p`, above 0.

    Returns:
        `z`, `(K,)`; NaN where there is none.
    """

    def going(factors: Tensor, relative: Any) -> Tensor:
        del factors
        return relative > _LAST_STEP

    def turn(factors: Tensor, relative: Any) -> tuple[Tensor, Tensor]:
        slack = alone * factors**-power - ops.matmul(matrix, alone * factors)
        # The ridge costs no accuracy, as it is in the steps alone.
        curvature = matrix + ops.diag(power * factors ** (-power - 1.0) + _RIDGE)
        step = ops.solve(curvature, slack[:, None])[:, 0] / alone
        relative = ops.max(ops.abs(step / factors))
        return factors + step / (1.0 + relative), relative

    # The best multiple of `a`.
    pull = ops.sum(alone * ops.matmul(matrix, alone)) / ops.sum(ops.square(alone))
    start = ops.maximum(pull, _RIDGE) ** (-1.0 / (1.0 + power)) * ops.ones_like(alone)
    factors = ops.while_loop(going, turn, (start, ops.ones_like(pull)), maximum_iterations=_MOST_TURNS)[0]
    values = alone * factors
    pulls = ops.matmul(matrix, values)
    square = ops.sum(values * pulls)
    missed = ops.max(ops.abs(pulls - alone * factors**-power))
    # Where the direction is shorter than this, float32 cannot tell a solution from none.
    sound = (square > 2.0 * _RIDGE * ops.sum(ops.square(values))) & (missed < _LARGEST_MISS * ops.sqrt(square))
    return ops.where(sound, factors, float("nan"))
