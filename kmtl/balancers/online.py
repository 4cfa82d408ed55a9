"""Balancing from one product a step: the Gramian learned from what the direction did.

A step with the weights `w` moves along `d = G'w`, where the rows of `G` are the
K gradients. One forward-mode product gives `p = G d = M w` for all tasks, with
`M = G G'`: K exact numbers, at a cost that does not grow with K. `M` itself is never
computed. This room keeps K *virtual gradients*, the rows of `F`, `(K, K)`, whose
products agree with those measured, and the weights are those of the exact solver for `F F'`.

Why the limit is exact. If state and weights stand still, `F F' w = p = M w`
(proof in `update_estimate`). MGDA, SDMGrad, Nash-MTL, FairGrad and DualProj
state what is optimal by `M w` alone:

    MGDA, SDMGrad  (M v)_k = min M v where w_k > 0     v = w, or w + strength * preference
    Nash-MTL       w_k (M w)_k = 1                     w > 0
    FairGrad       (M w)_k = w_k^(-1/a)                w > 0
    DualProj       (M v)_k >= 0, = 0 where v_k > u_k   v >= u

so weights that are optimal for `F F'` are optimal for `M`. CAGrad, `v = 1/K + strength * w`
with a strength that depends on `|G'1| / K`, qualifies once the product with
`1/K` is known as well: a second `update_estimate` with it, every tenth step. Methods
that read all of `M` (UPGrad, PCGrad, Aligned-MTL) do not qualify, and neither do those that
read its diagonal (IMTL-G, ConFIG).

The update is this project's own. With full doubt and gain 1 it is the BFGS update of `F F'`
(Dennis and Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, chapter 9); the
doubt adds a memory of earlier products.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from kmtl._types import Tensor

# A product may at most shrink the squared length of the direction to this share in one step.
_FLOOR = 0.05
_TINY = 1e-30


def start_estimate(count: int) -> tuple[Tensor, Tensor]:
    """Returns the state before the first product.

    Args:
        count: Number of tasks, K.

    Returns:
        Virtual gradients `(K, K)`, of which none is known yet, and the doubt, `(K, K)`: the
        identity, for nothing is known in any direction.

    >>> ops.convert_to_numpy(start_estimate(2)).tolist()
    [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    """
    return ops.zeros((count, count)), ops.eye(count)


def start_rows(virtual: Tensor, norms: Tensor) -> Tensor:
    """Gives the tasks without a virtual gradient one of a known length, at right angles to each other.

    Without, `update_estimate` takes the length that the first product shows: too short by the cosine to the direction.

    Args:
        virtual: Virtual gradients, `(K, K)`; rows of zeros are not yet known.
        norms: Lengths of the gradients, `(K,)`, such as those with respect to the features.

    Returns:
        Virtual gradients, `(K, K)`.

    >>> ops.convert_to_numpy(start_rows(ops.zeros((2, 2)), ops.array([2.0, 3.0]))).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    unknown = ops.logical_not(ops.any(ops.not_equal(virtual, 0.0), axis=1))
    return ops.where(unknown[:, None], ops.diag(norms), virtual)


def gramian(virtual: Tensor) -> Tensor:
    """Returns the estimate of the Gramian, `F F'`, `(K, K)`: positive semidefinite by construction."""
    return ops.matmul(virtual, ops.transpose(virtual))


def update_estimate(
    virtual: Tensor,
    doubt: Tensor,
    weights: Tensor,
    products: Tensor,
    present: Tensor,
    gain: float = 0.7,
    forgetting: float = 0.003,
) -> tuple[Tensor, Tensor]:
    """Learns from the product `p = M w` of one step.

    With the virtual direction `d = F'w`, the error `e = gain * (p - F d)` and the doubt `U`:

        U = (1 - forgetting) U + forgetting I,   k = U d / (d'U d)
        root = sqrt(1 + |k|^2 w'e),              s = w'e / (1 + root)
        F = F + c k',                            c = (e - s F k) / root
        U = U - U d d'U / (d'U d)                with the new d

    `F F'w` grows by `e`: as `w'c = s`, it becomes `F d + s F k + c (1 + s |k|^2)`, and that bracket is `root`.
    If `F` stands still, `c = 0`, so `s = 0` and `e = 0`: the virtual products are the measured ones.
    `k` has no part in directions without doubt, so what was learned there stays: at gain 1 and without
    forgetting, frozen gradients are known after K independent steps. Any task's scale may change freely.

    Before that, if `p'w` is below `|d|^2`, all rows shrink by `sqrt(p'w / |d|^2)^(1 - u)`, `u = d'U d / |d|^2`;
    if it contradicts what is known (`root^2` below 0.05), all is in doubt again. A step with a
    non-finite product, or without a direction, teaches nothing. An absent task keeps its virtual gradient,
    and the doubt falls by the share of tasks present only.

    Args:
        virtual: Virtual gradients `F`, `(K, K)`.
        doubt: `U`, `(K, K)`: 1 in directions of which nothing is known, 0 in those measured.
        weights: Weights of the direction that the products belong to, `(K,)`.
        products: Inner products of each task's gradient with that direction, `(K,)`.
        present: Booleans, `(K,)`; products of absent tasks are not read.
        gain: Share of the error that one step corrects, above 0 and at most 1; smaller averages over noise.
        forgetting: Share by which the doubt returns at each step, from 0 to 1.

    Returns:
        New virtual gradients and doubt, both `(K, K)`.

    >>> virtual, doubt = start_estimate(2)
    >>> gram, weights = ops.array([[4.0, 1.0], [1.0, 9.0]]), ops.array([0.5, 0.5])
    >>> products = ops.matmul(gram, weights)
    >>> virtual, doubt = update_estimate(virtual, doubt, weights, products, ops.array([True, True]), gain=1.0)
    >>> [round(float(value), 3) for value in ops.matmul(gramian(virtual), weights)]
    [2.5, 5.0]
    """
    weights = ops.where(present, weights, 0.0)
    products = ops.where(present, products, 0.0)
    power = ops.sum(weights * products)
    sound = ops.all(ops.isfinite(products)) & ops.all(ops.isfinite(weights)) & ops.isfinite(power)
    first = start_rows(virtual, ops.abs(products) / ops.sqrt(ops.maximum(power, _TINY)))
    # Power 0 shows no length. A product of 0 starts no row: the next one may.
    before = ops.where(sound & (power > 0), first, virtual)
    returned = (1.0 - forgetting) * doubt + forgetting * ops.eye(doubt.shape[0])
    after, less = _learn(before, returned, weights, products, present, gain)
    sound = sound & ops.all(ops.isfinite(after)) & ops.all(ops.isfinite(less))
    return ops.where(sound, after, virtual), ops.where(sound, less, doubt)


def online_step(
    virtual: Tensor,
    doubt: Tensor,
    weights: Tensor,
    products: Tensor,
    present: Tensor,
    solve: Callable[[Any], Any],
    **options: Any,
) -> tuple[Any, Any, Any]:
    """One step: learns from the last direction, then solves for the next.

    Args:
        virtual: Virtual gradients, `(K, K)`.
        doubt: Doubt, `(K, K)`.
        weights: Weights of the last direction, `(K,)`.
        products: Products of the gradients with that direction, `(K,)`.
        present: Booleans, `(K,)`, of the batch that the products belong to.
        solve: From a Gramian `(K, K)` to the weights of the direction, `(K,)`. For SDMGrad and
            CAGrad those are `v`, preference included.
        **options: `gain` and `forgetting` of `update_estimate`.

    Returns:
        New weights `(K,)`, virtual gradients and doubt.

    >>> def minimum_norm(gram):
    ...     first = (gram[1, 1] - gram[0, 1]) / (gram[0, 0] + gram[1, 1] - 2.0 * gram[0, 1])
    ...     return ops.stack([first, 1.0 - first])
    >>> state, weights, gram = start_estimate(2), ops.array([0.5, 0.5]), ops.array([[4.0, 1.0], [1.0, 9.0]])
    >>> for _ in range(40):
    ...     products = ops.matmul(gram, weights)
    ...     weights, *state = online_step(*state, weights, products, ops.array([True, True]), minimum_norm)
    >>> [round(float(weight), 3) for weight in weights]  # 8/11 and 3/11
    [0.727, 0.273]
    """
    virtual, doubt = update_estimate(virtual, doubt, weights, products, present, **options)
    solved = solve(gramian(virtual))
    # A solver that fails keeps the last good weights.
    return ops.where(ops.all(ops.isfinite(solved)), solved, weights), virtual, doubt


def _learn(
    virtual: Tensor, doubt: Tensor, weights: Tensor, products: Tensor, present: Tensor, gain: float
) -> tuple[Tensor, Tensor]:
    """The update of `update_estimate`, for sound products; not finite where the virtual direction is zero."""
    virtual, doubt = _reconsider(virtual, doubt, weights, products, present, gain)
    direction, error = _prediction_error(virtual, weights, products, present, gain)
    along = _along(doubt, direction)
    change = ops.sum(ops.square(along)) * ops.sum(weights * error)
    # A direction may vanish, as that of opposite gradients does; then its length shrinks step by step.
    error = error * ops.minimum(1.0, (1.0 - _FLOOR) / ops.maximum(-change, _TINY))
    root = ops.sqrt(1.0 + ops.maximum(change, _FLOOR - 1.0))
    stride = ops.sum(weights * error) / (1.0 + root)
    rows = ops.where(present, error - stride * ops.matmul(virtual, along), 0.0) / root
    share = ops.mean(ops.cast(present, "float32"))
    return virtual + ops.outer(rows, along), _lessen(doubt, direction + stride * along, share)


def _prediction_error(
    virtual: Tensor, weights: Tensor, products: Tensor, present: Tensor, gain: float
) -> tuple[Tensor, Tensor]:
    """The virtual direction, and the share to correct of what its products are wrong by."""
    direction = ops.matmul(weights, virtual)
    return direction, gain * ops.where(present, products - ops.matmul(virtual, direction), 0.0)


def _along(doubt: Tensor, direction: Tensor) -> Tensor:
    """Where to learn: the part of the direction that is in doubt, with product 1 with the direction."""
    part = ops.matmul(doubt, direction)
    # In float32 a part below this share is rounding.
    return part / ops.maximum(ops.sum(direction * part), 1e-6 * ops.sum(ops.square(direction)))


def _reconsider(
    virtual: Tensor, doubt: Tensor, weights: Tensor, products: Tensor, present: Tensor, gain: float
) -> tuple[Tensor, Tensor]:
    """Shortens all as the direction did, where that was known; doubts everything where it contradicts.

    Gradients shorten during training, all of them. A virtual gradient left too long gets
    too small a weight to be corrected soon; one too short does not, so nothing is lengthened here.
    """
    direction, error = _prediction_error(virtual, weights, products, present, gain)
    length = ops.sum(ops.square(direction))
    contradicted = 1.0 + ops.sum(ops.square(_along(doubt, direction))) * ops.sum(weights * error) < _FLOOR
    ratio = ops.clip(ops.sum(weights * products) / length, _FLOOR, 1.0)
    unsure = ops.sum(direction * ops.matmul(doubt, direction)) / length
    known = ops.where(contradicted, 1.0, 1.0 - unsure)
    virtual = ops.where(present[:, None], ops.power(ratio, 0.5 * known) * virtual, virtual)
    return virtual, ops.where(contradicted, ops.eye(doubt.shape[0]), doubt)


def _lessen(doubt: Tensor, direction: Tensor, share: Any) -> Tensor:
    """Takes a share of the doubt out of a direction."""
    part = ops.matmul(doubt, direction)
    less = doubt - share * ops.outer(part, part) / ops.maximum(ops.sum(direction * part), _TINY)
    return 0.5 * (less + ops.transpose(less))
