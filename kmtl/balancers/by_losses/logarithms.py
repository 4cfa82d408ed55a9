"""Balancers that take the losses' logarithms, so that no task's scale counts."""

from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.by_losses.bounds import BoundedBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals


def gls_weights(excess: Any, present: Tensor) -> Tensor:
    """Derivatives of the geometric mean, `(prod_j D_j)^(1 / K) / (K * D_k)`, over the K tasks present, `(K,)`.

    Args:
        excess: Losses above 0, `(K,)`; any finite positive number where a task is absent.
        present: Booleans `(K,)`.

    >>> gls_weights(ops.array([4.0, 1.0]), ops.array([True, True])).numpy().round(6).tolist()
    [0.25, 1.0]
    """
    there = ops.cast(present, "float32")
    number = ops.maximum(ops.sum(there), 1.0)
    logarithms = ops.log(excess)
    mean = ops.sum(there * logarithms) / number
    return ops.exp(mean - logarithms) / number


@register("si")
class SI(BoundedBalancer):
    """The sum of the logarithms of the losses: multiplying a task's loss changes nothing.

        total = sum_k log D_k,   w_k = 1 / D_k,   D_k = L_k - b_k + 1e-8

    Free, and good where the losses have unlike scales (QM9 with a schedule that converges: mean change 39.7 %
    against 179.8 % of equal weights, lower is better). Bad for many alike tasks, where it favours the easy ones
    (CelebA: 7.20 % against 4.15 %). A loss that goes to 0 takes nearly all the weight.

    Args:
        **options: As for `BoundedBalancer`: `lower_bounds`, and those of `Balancer`.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, where it is the scale-invariant
    baseline. Departures: the weights sum to K by default; 1e-8 keeps them finite at a loss of 0; lower bounds.

    >>> ops.convert_to_numpy(SI(scale="paper").weigh(losses=ops.array([0.5, 4.0]))).tolist()
    [2.0, 0.25]
    """

    def task_weights(self, signals: Signals) -> Tensor:
        """One over each loss."""
        return 1.0 / self.excess(signals)


@register("gls")
class GLS(BoundedBalancer):
    """The geometric mean of the losses.

        total = (prod_k D_k)^(1 / K),   w_k = total / (K * D_k),   D_k = L_k - b_k + 1e-8

    The direction is that of `SI`; only the length differs, which fades with the losses in `scale="paper"`.

    Args:
        **options: As for `BoundedBalancer`: `lower_bounds`, and those of `Balancer`.

    Source: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
    Multi-Task Learning", CVPR Workshops 2019. Departures as for `SI`.

    >>> ops.convert_to_numpy(GLS(scale="paper").weigh(losses=ops.array([4.0, 1.0]))).round(6).tolist()
    [0.25, 1.0]
    """

    def task_weights(self, signals: Signals) -> Tensor:
        """The derivatives of the geometric mean."""
        return gls_weights(self.excess(signals), signals.present)
