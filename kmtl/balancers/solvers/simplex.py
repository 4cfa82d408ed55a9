"""Convex combinations of the tasks' gradients that are best in some sense."""

from collections.abc import Callable
from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.signals import cosines, norms
from kmtl.balancers.solvers.supports import guard_solver, optimum, solve_on


def level_weights(
    matrix: Tensor, bounds: Tensor, offset: Tensor, present: Tensor, level: Callable[[Any, Any], Any]
) -> Tensor:
    """Finds `y >= 0` with `Cy + h = t b` where `y > 0`, and `Cy + h >= t b` elsewhere.

    On a support, `y = t p - r` with `p` and `r` the solutions for `b` and `h`.

    Args:
        matrix: Cosines `C`, `(K, K)`.
        bounds: `b`, above 0 where a task is present and 0 elsewhere, `(K,)`.
        offset: `h`, `(K,)`; 0 where a task sits out.
        present: Booleans `(K,)`.
        level: The level `t` of solutions `p` and `r`, `(..., K)` each, that the problem asks for, `(...,)`.

    Returns:
        `y`, `(K,)`.
    """
    right = ops.stack([bounds, offset], axis=-1)

    def evaluate(support: Tensor, refined: bool) -> tuple[Tensor, Tensor]:
        found = solve_on(matrix, support, right, refined)
        slopes, intercepts = found[..., 0], found[..., 1]
        # Without any support no level is asked for; a high one lets tasks in.
        some = ops.any(support, axis=-1)
        height = ops.where(some, level(slopes, intercepts), 1e6)[..., None]
        values = height * slopes - intercepts
        return values, ops.matmul(values, matrix) + offset - height * bounds

    return optimum(evaluate, present[None, :], present)[0]


def relative_lengths(gram: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths of the gradients relative to the shortest and its inverse, `(K,)` each; 0 where a task sits out."""
    lengths = norms(gram, present)
    shortest = ops.min(ops.where(present, lengths, float("inf")))
    shortest = ops.where(ops.any(present), shortest, 1.0)
    return ops.where(present, lengths / shortest, 0.0), ops.where(present, shortest / lengths, 0.0)


@guard_solver
def min_norm_weights(gram: Tensor, present: Tensor, offset: Tensor = None) -> Tensor:
    """Minimises `(w + a)'M(w + a)` over the simplex, exactly.

    With `y_k = w_k n_k` it is a problem in the cosines.

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        offset: `a`, at least 0, `(K,)`; None for 0.

    Returns:
        `w`, `(K,)`; 0 where a task sits out.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(weight), 4) for weight in min_norm_weights(gram, present)]
    [0.6, 0.4]
    """
    matrix = cosines(gram, present)
    lengths, inverses = relative_lengths(gram, present)
    pulls = ops.zeros_like(lengths) if offset is None else offset * lengths

    def level(slopes: Any, intercepts: Any) -> Tensor:
        # Weights that sum to 1.
        size = ops.matmul(slopes, inverses)
        return (1.0 + ops.matmul(intercepts, inverses)) / ops.where(size > 0, size, 1.0)

    weights = level_weights(matrix, inverses, ops.matmul(matrix, pulls), present, level) * inverses
    size = ops.sum(weights)
    return weights / ops.where(size > 0, size, 1.0)


@guard_solver
def conflict_averse_shifts(gram: Tensor, present: Tensor, radius: float) -> Tensor:
    """What CAGrad adds to the weights of the mean gradient.

    Of the directions within `c |g_0|` of the mean gradient `g_0`, the one that
    ascends the least is `d = g_0 + G's` with

        s >= 0,   |G's| = c |g_0|,   <g_k, d> = t where s_k > 0, and >= t elsewhere.

    `s` is `c |g_0| / |g_w|` times the paper's weights `w` on the simplex.

    Args:
        gram: Gramian, `(K, K)`.
        present: Booleans `(K,)`.
        radius: `c`.

    Returns:
        `s`, `(K,)`; 0 where a task sits out.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(shift), 4) for shift in conflict_averse_shifts(gram, present, 0.5)]
    [0.2041, 0.0]
    """
    matrix = cosines(gram, present)
    lengths, inverses = relative_lengths(gram, present)
    longest = ops.maximum(ops.max(lengths), 1.0)
    pulls = lengths / longest / ops.maximum(ops.sum(ops.cast(present, "float32")), 1.0)
    offset = ops.matmul(matrix, pulls)
    square = radius**2 * ops.maximum(ops.sum(pulls * offset), 0.0)

    def level(slopes: Any, intercepts: Any) -> Tensor:
        # The larger root of |G's|^2 = square, a quadratic in the level.
        first = ops.matmul(slopes, inverses)
        second = ops.matmul(intercepts, inverses)
        third = ops.matmul(intercepts, offset) - square
        root = ops.sqrt(ops.maximum(second * second - first * third, 0.0))
        return (second + root) / ops.where(first > 0, first, 1.0)

    return level_weights(matrix, inverses, offset, present, level) * inverses * longest
