"""Balancers that learn how uncertain each task is."""

from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.balancers.by_losses.learning import LearningBalancer
from kmtl.balancers.registry import register


def uncertainty_weights(log_variances: Tensor, factors: Tensor) -> Tensor:
    """Weights of the losses, `factor * exp(-s)`, `(K,)`.

    >>> ops.convert_to_numpy(uncertainty_weights(ops.zeros((2,)), ops.array([0.5, 1.0]))).tolist()
    [0.5, 1.0]
    """
    return factors * ops.exp(-log_variances)


def uncertainty_gradient(losses: Tensor, log_variances: Tensor, factors: Tensor) -> Tensor:
    """Gradient of `sum_k factor_k * exp(-s_k) * L_k + s_k / 2` with respect to `s`.

    It vanishes at `s_k = log(2 * factor_k * L_k)`.

    >>> losses, factors = ops.array([0.8]), ops.array([0.5])
    >>> ops.convert_to_numpy(uncertainty_gradient(losses, ops.log(losses), factors)).tolist()
    [0.0]
    """
    return 0.5 - uncertainty_weights(log_variances, factors) * losses


def liebel_gradient(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Gradient of `sum_k exp(-s_k) * L_k / 2 + log(1 + exp(s_k))` with respect to `s`, `(K,)`.

    It vanishes at `exp(s) = (L + sqrt(L^2 + 8 L)) / 4`.

    >>> ops.convert_to_numpy(liebel_gradient(ops.array([1.0]), ops.array([0.0]))).tolist()
    [0.0]
    """
    return ops.sigmoid(log_variances) - 0.5 * ops.exp(-log_variances) * losses


class LogVarianceBalancer(LearningBalancer):
    """A balancer that learns the logarithm of a variance a task, which a loss of zero would send to minus infinity."""

    def __init__(
        self,
        *,
        learning_rate: float = 0.01,
        initial: float = 0.0,
        floor: float = -10.0,
        ceiling: float = 20.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, initial=initial, floor=floor, ceiling=ceiling, **options)


@register("uncertainty")
class Uncertainty(LogVarianceBalancer):
    """Learns a variance a task; a task whose loss is large and noisy weighs less.

        total = sum_k factor_k * exp(-s_k) * L_k + s_k / 2,   s_k = log(variance_k)

    with factor 1/2 for a regression (Gaussian) and 1 for a classification. At the
    optimum the weights are `1 / (2 L_k)`, those of `SI`. The parameters lag behind
    the losses: from a bad start a good part of the training may pass. Published
    mean changes, lower is better: QM9, 58.4 % against 179.8 % of equal weights;
    NYUv2, 4.05 % against 5.59 %; CelebA, 3.23 % against 4.15 %.

    Args:
        learning_rate: Of the log-variances.
        initial: Log-variance at the start.
        floor: Lowest log-variance; a task whose training loss goes to zero
            would otherwise drive its weight, `1 / L`, to infinity.
        ceiling: Highest log-variance.
        **options: As for `Balancer`.

    Source: Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to
    Weigh Losses for Scene Geometry and Semantics", CVPR 2018. Departures: the
    variances have their own optimizer, and by default the weights sum to K.

    >>> balancer = Uncertainty(scale="paper")
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([1.0, 4.0]))).tolist()
    [1.0, 1.0]
    """

    def factors(self, count: int) -> Tensor:
        """What each kind of task says, one half for a regression; 1 without tasks to ask."""
        return ops.array([task.uncertainty_factor for task in self.tasks] or [1.0] * count)

    def weights_of(self, parameters: Tensor) -> Tensor:
        """`factor * exp(-s)`."""
        return uncertainty_weights(parameters, self.factors(parameters.shape[0]))

    def slope(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """Derivative of the total by the log-variances."""
        return uncertainty_gradient(losses, parameters, self.factors(parameters.shape[0]))


@register("liebel")
class Liebel(LogVarianceBalancer):
    """Uncertainty weighting whose total never falls below 0.

        total = sum_k exp(-s_k) * L_k / 2 + log(1 + exp(s_k)),   s_k = log(variance_k)

    At the optimum the variance is `(L + sqrt(L^2 + 8 L)) / 4`: about `L / 2` for a large loss, as with
    `Uncertainty`, and `sqrt(L / 2)` for a small one, so that an easy task's weight grows like `1 / sqrt(L)` only. It
    is not indifferent to the losses' scales.

    Args:
        learning_rate: Of the log-variances.
        initial: Log-variance at the start.
        floor: Lowest log-variance.
        ceiling: Highest log-variance.
        **options: As for `Balancer`.

    Source: Liebel and Koerner, "Auxiliary Tasks in Multi-task Learning", 2018. Departures: the logarithm of the
    variance is learned, not its root, by its own optimizer; by default the weights sum to K.

    >>> balancer = Liebel(scale="paper")
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([1.0, 4.0]))).tolist()
    [0.5, 0.5]
    """

    def weights_of(self, parameters: Tensor) -> Tensor:
        """`exp(-s) / 2`."""
        return uncertainty_weights(parameters, 0.5)

    def slope(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """Derivative of the total by the log-variances."""
        return liebel_gradient(losses, parameters)
