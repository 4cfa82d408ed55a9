"""The balancer that makes the combined gradients orthogonal and of one length."""

from typing import Any

from keras import ops

from kmtl._checks import near, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.by_gramian.preferring import PreferringBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, cosines
from kmtl.balancers.solvers.jacobi import eigenpairs

MODES = ("min", "median", "rmse")
TOLERANCE = 1e-6


def aligned_weights(
    gram: Tensor, present: Tensor, shares: Tensor, mode: str = "min", tolerance: float = TOLERANCE
) -> Tensor:
    """Weights of Aligned-MTL, `(K,)`.

        M = sum_k l_k v_k v_k',   w = sqrt(l) sum_k (v_k' p) / sqrt(l_k) v_k

    over the eigenvalues that count, whose number is the rank of the cosines.

    Args:
        gram: Gramian `M`, `(K, K)`; rows of 0 where a task sits out.
        present: Booleans `(K,)`.
        shares: Preference `p`, `(K,)`.
        mode: Which eigenvalue `l` all are replaced by: the smallest, the lower median or their mean.
        tolerance: Share of the largest eigenvalue of the cosines below which one counts as 0.

    >>> gram, both = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(value), 4) for value in aligned_weights(gram, both, ops.array([0.5, 0.5]))]
    [0.5591, 0.4083]
    """
    values, vectors = eigenpairs(gram)
    angles, _ = ops.eigh(cosines(gram, present))
    absent = ops.sum(ops.cast(~present, "int32"))
    # An absent task adds an eigenvalue of 1 to the cosines, and one of 0 to the Gramian.
    rank = ops.sum(ops.cast(angles > tolerance * ops.max(angles), "int32")) - absent
    ascending = ops.sort(values)
    count = gram.shape[0]
    places = ops.arange(count, dtype="int32")
    smallest = ops.sum(ops.where(ops.equal(places, count - rank), ascending, 0.0))
    kept = (values >= smallest) & (values > 0)
    chosen = {
        "min": smallest,
        "median": ops.sum(ops.where(ops.equal(places, count - rank + (rank - 1) // 2), ascending, 0.0)),
        "rmse": ops.sum(ops.where(kept, values, 0.0)) / ops.cast(ops.maximum(rank, 1), "float32"),
    }[mode]
    shares = ops.where(present, shares, 0.0)
    parts = ops.where(kept, ops.sum(vectors * shares[None, :], axis=1), 0.0)
    # What is left of `p` in the span; rounding alone leaves about 1e-13.
    spanned = ops.sum(ops.square(parts)) > 1e-8 * ops.sum(ops.square(shares))
    parts = parts * ops.sqrt(chosen / ops.where(kept, values, 1.0))
    return ops.where(spanned, ops.sum(parts[:, None] * vectors, axis=0), float("nan"))


@register("aligned")
class Aligned(PreferringBalancer):
    """Replaces the gradients by the nearest ones that are orthogonal and of one length.

        M = V diag(l) V',   w = sqrt(min l) V diag(l)^(-1/2) V' p

    The combined gradients' condition number is then 1. The method is not
    continuous where gradients become dependent: the smallest eigenvalue falls, and the step with
    it, until the rank drops and it jumps. It may ascend a task, and
    follows the scales of the losses.

    Args:
        mode: Length of the aligned gradients: that of the smallest (`"min"`), the
            median or the root mean square singular value (`"rmse"`).
        tolerance: Share of the largest eigenvalue of the gradients' cosines below which one counts as 0.
        **options: As for `PreferringBalancer`. With `scale="paper"` the weights are those of a
            mean: the authors' code takes a preference of 1 for each task, which is K times as long.

    Source: Senushkin et al., "Independent Component Alignment for Multi-Task
    Learning", CVPR 2023. Departures: the rank is that of the cosines, so that a
    short gradient is not taken for a dependent one; opposite gradients, whose
    aligned sum is 0, are a failure; by default absolute weights sum to K.

    >>> gram = ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> [round(float(weight), 4) for weight in Aligned(scale="paper").weigh(gram=gram)]
    [0.5, 0.25]
    """

    def __init__(self, *, mode: str = "min", tolerance: float = TOLERANCE, **options: Any) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        require(mode in MODES, owner, "mode", f"must be one of {MODES}", mode, near(str(mode), MODES))
        self.mode = mode
        self.tolerance = non_negative(owner, "tolerance", tolerance)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step."""
        return aligned_weights(signals.gram, signals.present, self.shares(signals), self.mode, self.tolerance)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "mode": self.mode, "tolerance": self.tolerance}
