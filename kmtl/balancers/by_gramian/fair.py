"""Balancers under which every task gains its fair share."""

from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_number, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, cosines, norms
from kmtl.balancers.solvers.fairness import fair_weights


def clipped_weights(weights: Tensor, gram: Tensor, present: Tensor, max_norm: float) -> Tensor:
    """Weights scaled down so that the length of the direction is at most `max_norm`.

    >>> gram, present = ops.array([[4.0, 0.0], [0.0, 1.0]]), ops.array([True, True])
    >>> clipped_weights(ops.array([1.5, 4.0]), gram, present, 1.0).numpy().round(4).tolist()
    [0.30000001192092896, 0.800000011920929]
    """
    values = weights * norms(gram, present)
    square = ops.sum(values * ops.matmul(cosines(gram, present), values))
    length = ops.sqrt(ops.maximum(square, 0.0))
    return weights * ops.where(length > max_norm, max_norm / length, 1.0)


@register("nash")
class NashMTL(GramianBalancer):
    """The bargain in which the product of the tasks' gains is largest.

        w > 0 with  M w = 1 / w,   d = sum_k w_k g_k,   so that  <d, g_k> = 1 / w_k

    No task is ascended, and multiplying a loss by a number changes no
    direction. Before clipping `|d| = sqrt(K)`, whatever the gradients: with
    `scale="paper"` it behaves like normalised gradient descent. With two
    tasks its direction is that of `"unit"`. There is no solution where some
    combination of the gradients vanishes; the last weights are then kept,
    and `failures` counts it. On gradients of the features
    (`level="features"`) the authors saw it degrade a lot.

    Args:
        max_norm: Longest direction with `scale="paper"`; None for any.
        **options: As for `GramianBalancer`; the authors' `update_weights_every` is `update_every`.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.
    Departures: damped Newton instead of a sequence of convex programs; by
    default the weights sum to K. The authors' code silently keeps
    all-one weights where its solver is missing or fails.

    >>> gram = ops.array([[4.0, 0.0], [0.0, 1.0]])
    >>> [round(float(weight), 4) for weight in NashMTL(scale="paper", max_norm=None).weigh(gram=gram)]
    [0.5, 1.0]
    """

    has_online: ClassVar[bool] = True

    def __init__(self, *, max_norm: float | None = 1.0, **options: Any) -> None:
        super().__init__(**options)
        rule = "must be None or a finite number above 0"
        good = max_norm is None or (is_number(max_norm) and max_norm > 0)
        require(good, type(self).__name__, "max_norm", rule, max_norm, "Give None not to clip.")
        self.max_norm = max_norm

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the bargain; NaN where there is none."""
        weights = fair_weights(signals.gram, signals.present, 1.0)
        if self.max_norm is None:
            return weights
        return clipped_weights(weights, signals.gram, signals.present, self.max_norm)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "max_norm": self.max_norm}


@register("fairgrad")
class FairGrad(GramianBalancer):
    """The direction whose gains are fair in the sense of alpha-fairness.

        w > 0 with  M w = w^(-1/alpha),   d = sum_k w_k g_k,   so that  <d, g_k> = w_k^(-1/alpha)

    `alpha = 1` is Nash's bargain; the larger `alpha`, the more the task that
    gains the least counts, up to MGDA's max-min. No task is ascended. But for `alpha = 1` the
    direction follows the scales of the losses. It is at the front of the
    re-run tables (delta-m 0.37 on CelebA, where the plain sum has 4.15).
    There is no solution where some combination of the gradients vanishes; the
    last weights are then kept, and `failures` counts it.

    Args:
        alpha: In [0.1, 10]; 2 in the authors' scripts. Where gradient lengths
            differ by decades, float32 has the digits for 0.5 to 2 only; a solve that
            does not settle counts as a failure.
        **options: As for `GramianBalancer`.

    Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML
    2024. Departures: damped Newton instead of least squares; by default the weights sum to K.

    >>> gram = ops.array([[4.0, 0.0], [0.0, 1.0]])
    >>> [round(float(weight), 4) for weight in FairGrad(alpha=1.0, scale="paper").weigh(gram=gram)]
    [0.5, 1.0]
    """

    has_online: ClassVar[bool] = True

    def __init__(self, *, alpha: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        alpha = non_negative(owner, "alpha", alpha)
        fix = "Near 0 it is the plain sum ('equal'), far above 10 MGDA ('mgda')."
        require(0.1 <= alpha <= 10.0, owner, "alpha", "must be from 0.1 to 10", alpha, fix)
        self.alpha = alpha

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights under which the gains are fair; NaN where there are none."""
        return fair_weights(signals.gram, signals.present, self.alpha)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "alpha": self.alpha}
