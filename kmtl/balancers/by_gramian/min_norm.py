"""Balancers that take the shortest of the combinations of the gradients."""

from typing import Any, ClassVar

from kmtl._checks import non_negative
from kmtl._types import Tensor
from kmtl.balancers.by_gramian.preferring import PreferringBalancer
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals
from kmtl.balancers.solvers.simplex import min_norm_weights


def regularized_min_norm_weights(gram: Tensor, present: Tensor, preference: Any, regularization: float) -> Tensor:
    """Weights of SDMGrad's direction, `(w + l p) / (1 + l)`.

        w = argmin (w + l p)'M(w + l p) over the simplex

    Args:
        gram: Gramian `M`, `(K, K)`.
        present: Booleans `(K,)`.
        preference: Shares `p` that sum to 1, `(K,)`.
        regularization: `l`, at least 0.

    Returns:
        `(K,)`; they sum to 1.

    >>> from keras import ops
    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> found = regularized_min_norm_weights(gram, present, ops.array([0.9, 0.1]), 1.0)
    >>> [round(float(weight), 4) for weight in found]
    [0.6, 0.4]
    """
    weights = min_norm_weights(gram, present, regularization * preference)
    return (weights + regularization * preference) / (1.0 + regularization)


@register("mgda")
class MGDA(GramianBalancer):
    """Follows the shortest convex combination of the gradients.

        w = argmin |sum_k w_k g_k|^2   over   w >= 0, sum_k w_k = 1

    Its direction ascends no task: `<d, g_k> >= |d|^2`, with equality where
    `w_k > 0`. So it is the one that gains the most for the task that gains
    the least, and it follows the shortest gradients: a task that has
    converged slows all the others down. Without `normalize`, unlike losses
    make it collapse (delta-m 44.1 on Cityscapes, 14.9 on CelebA, where the plain sum has
    22.6 and 4.2). The `normalize` of every balancer has the variants of Sener
    and Koltun: `"l2"`, `"loss"` and `"loss+"`; the normalised gradients are what is combined.

    Args:
        **options: As for `GramianBalancer`. `level="features"` is MGDA-UB.

    Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for
    multiobjective optimization", Comptes Rendus Mathématique, 2012; Sener and
    Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018.
    Departures: solved exactly, not by Frank and Wolfe's iteration, which is off
    by 1 % in the median and by more for many tasks; by default the weights sum to K.

    >>> from keras import ops
    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(weight), 4) for weight in MGDA(scale="paper").weigh(gram=gram)]
    [0.6, 0.4]
    """

    has_online: ClassVar[bool] = True

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights on the simplex."""
        return min_norm_weights(signals.gram, signals.present)


@register("sdmgrad")
class SDMGrad(PreferringBalancer):
    """MGDA, held near a preferred combination of the gradients.

        w = argmin |sum_k (w_k + l p_k) g_k|^2 over the simplex,   d = sum_k (w_k + l p_k) g_k / (1 + l)

    With `l = 0` it is MGDA, with a large `l` the preferred mean; in between
    it may ascend a task.

    Args:
        regularization: `l`; 0.3 in the authors' scripts.
        **options: As for `GramianBalancer`, and `preference`, the shares `p`.

    Source: Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning:
    Simple and Provable Stochastic Algorithms", NeurIPS 2023. Departures: the
    authors take three independent batches a step and 20 steps of SGD on
    `w`, warm-started; here the problem is that of one batch, solved exactly.
    By default the weights sum to K.

    >>> from keras import ops
    >>> gram = ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> [round(float(weight), 4) for weight in SDMGrad(scale="paper").weigh(gram=gram)]
    [0.8, 0.2]
    """

    has_online: ClassVar[bool] = True

    def __init__(self, *, regularization: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.regularization = non_negative(type(self).__name__, "regularization", regularization)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the direction."""
        shares = self.shares(signals)
        return regularized_min_norm_weights(signals.gram, signals.present, shares, self.regularization)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "regularization": self.regularization}
