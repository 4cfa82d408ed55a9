"""The smallest combinations of gradients whose weights have lower bounds."""

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.signals import cosines, norms
from kmtl.balancers.solvers.supports import guard_solver, optimum, solve_on


def nonnegative_quadratic(matrix: Tensor, linear: Tensor, present: Tensor) -> Tensor:
    """Minimises `y'Cy / 2 + q'y` over `y >= 0`, for each row `q`.

    Args:
        matrix: Cosines `C`, `(K, K)`.
        linear: Rows `q`, `(B, K)`; 0 where a task sits out.
        present: Booleans `(K,)`.

    Returns:
        Rows `y`, `(B, K)`.

    >>> found = nonnegative_quadratic(ops.eye(2), ops.array([[-2.0, 3.0]]), ops.array([True, True]))
    >>> [round(float(value), 4) for value in found[0]]
    [2.0, 0.0]
    """

    def evaluate(support: Tensor, refined: bool) -> tuple[Tensor, Tensor]:
        values = solve_on(matrix, support, -linear[..., None], refined)[..., 0]
        return values, linear + ops.matmul(values, matrix)

    return optimum(evaluate, linear < 0, present)


@guard_solver
def lower_bounded_weights(gram: Tensor, present: Tensor, bounds: Tensor) -> Tensor:
    """Minimises `v'Mv` over `v >= u`, for each row of bounds `u`.

    It is the dual of projecting `G'u` on the cone of directions that ascend no
    task. With `v_k = u_k + y_k / n_k` it is a problem in the cosines alone.

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        bounds: Rows `u`, at least 0, `(B, K)`.

    Returns:
        Rows `v`, `(B, K)`; 0 where a task sits out.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> found = lower_bounded_weights(gram, present, ops.array([[0.5, 0.0]]))
    >>> [round(float(value), 4) for value in found[0]]
    [0.5, 0.2895]
    """
    matrix, lengths = cosines(gram, present), norms(gram, present)
    bounds = ops.where(present, bounds, 0.0)
    pulls = bounds * lengths
    size = ops.max(pulls, axis=-1, keepdims=True)
    size = ops.where(size > 0, size, 1.0)
    linear = ops.where(present, ops.matmul(pulls / size, matrix), 0.0)
    return bounds + nonnegative_quadratic(matrix, linear, present) * (size / lengths)
