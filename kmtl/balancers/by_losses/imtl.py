"""The loss part of impartial multi-task learning."""

from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.by_losses.learning import LearningBalancer
from kmtl.balancers.registry import register


def imtl_l_gradient(losses: Tensor, scales: Tensor) -> Tensor:
    """Gradient of `sum_k exp(s_k) * L_k - s_k` with respect to `s`, `(K,)`; it vanishes at `s_k = -log L_k`.

    >>> ops.convert_to_numpy(imtl_l_gradient(ops.array([3.0]), ops.array([0.0]))).tolist()
    [2.0]
    """
    return ops.exp(scales) * losses - 1.0


@register("imtl_l")
class IMTLL(LearningBalancer):
    """Learns a scale a task that brings every scaled loss to 1.

        total = sum_k exp(s_k) * L_k - s_k

    At the optimum the weights are `1 / L_k`, those of `SI`, reached as slowly as with `Uncertainty`, whose form
    for a regression this is but for a factor 2 and the sign of s.

    Args:
        learning_rate: Of the scales.
        initial: Scale `s` at the start.
        floor: Lowest `s`.
        ceiling: Highest `s`; a loss that goes to zero would otherwise drive its weight to infinity.
        **options: As for `Balancer`.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021. Departures: the scales have their own
    optimizer, and by default the weights sum to K.

    >>> balancer = IMTLL(scale="paper")
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([1.0, 4.0]))).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.01,
        initial: float = 0.0,
        floor: float = -20.0,
        ceiling: float = 10.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, initial=initial, floor=floor, ceiling=ceiling, **options)

    def weights_of(self, parameters: Tensor) -> Tensor:
        """`exp(s)`."""
        return ops.exp(parameters)

    def slope(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """Derivative of the total by the scales."""
        return imtl_l_gradient(losses, parameters)
