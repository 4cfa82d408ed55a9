"""Balancers that read the losses: one backward pass."""

from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_number, non_negative, require
from kmtl.balancers.base import Balancer, register


def uncertainty_weights(log_variances: Any, factors: Any) -> Any:
    """Weights of the losses, `factor * exp(-s)`, `(K,)`.

    >>> ops.convert_to_numpy(uncertainty_weights(ops.zeros((2,)), ops.array([0.5, 1.0]))).tolist()
    [0.5, 1.0]
    """
    return factors * ops.exp(-log_variances)


def uncertainty_gradient(losses: Any, log_variances: Any, factors: Any) -> Any:
    """Gradient of `sum_k factor_k * exp(-s_k) * L_k + s_k / 2` with respect to `s`.

    It vanishes at `s_k = log(2 * factor_k * L_k)`.

    >>> losses, factors = ops.array([0.8]), ops.array([0.5])
    >>> ops.convert_to_numpy(uncertainty_gradient(losses, ops.log(losses), factors)).tolist()
    [0.0]
    """
    return 0.5 - uncertainty_weights(log_variances, factors) * losses


def adam_step(gradient: Any, moments: Any, steps: Any, learning_rate: float) -> tuple[Any, Any]:
    """One step of Adam (Kingma & Ba, ICLR 2015) on a vector whose elements may have different ages.

    Args:
        gradient: `(K,)`.
        moments: First and second moments, `(2, K)`.
        steps: Number of steps each element has made, this one included, `(K,)`.
        learning_rate: Length of a step.

    Returns:
        The change of the vector `(K,)` and the new moments `(2, K)`.
    """
    first = 0.9 * moments[0] + 0.1 * gradient
    second = 0.999 * moments[1] + 0.001 * ops.square(gradient)
    corrected = first / (1.0 - ops.power(0.9, steps))
    length = ops.sqrt(second / (1.0 - ops.power(0.999, steps)))
    return -learning_rate * corrected / (length + 1e-8), ops.stack([first, second])


@register("uncertainty")
class Uncertainty(Balancer):
    """Learns a variance a task; a task whose loss is large and noisy weighs less.

        total = sum_k factor_k * exp(-s_k) * L_k + s_k / 2,   s_k = log(variance_k)

    with factor 1/2 for a regression (Gaussian) and 1 for a classification.
    The `s_k` are the balancer's own: Adam with a learning rate of their own
    moves them, no weight decay touches them, no exported model carries them.
    A task absent from the batch keeps its `s_k` and its moments.

    Args:
        learning_rate: Of the log-variances.
        initial: Log-variance at the start.
        floor: Lowest log-variance; a task whose training loss goes to zero
            would otherwise drive its weight, `1 / L`, to infinity.
        scale: `"sum"` (weights sum to the number of tasks) or `"paper"`.
        **kwargs: Keras layer options.

    Source: Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to
    Weigh Losses for Scene Geometry and Semantics", CVPR 2018. Departures: the
    variances have their own optimizer, and by default the weights sum to K.

    >>> balancer = Uncertainty(scale="paper")
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([1.0, 4.0]))).tolist()
    [1.0, 1.0]
    """

    needs: ClassVar[str] = "losses"

    def __init__(
        self, *, learning_rate: float = 0.01, initial: float = 0.0, floor: float = -10.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.learning_rate = non_negative("Uncertainty", "learning_rate", learning_rate)
        require(is_number(initial), "Uncertainty", "initial", "must be a finite number", initial)
        require(floor <= initial, "Uncertainty", "floor", f"must be at most `initial`, {initial}", floor)
        self.initial = float(initial)
        self.floor = float(floor)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the log-variances and what Adam remembers of them."""
        count = input_shape[0]
        self.log_variances = self.state((count,), "zeros", "log_variances")
        self.moments = self.state((2, count), "zeros", "moments")
        self.steps = self.state((count,), "zeros", "steps")
        self.log_variances.assign(ops.full((count,), self.initial))

    def factors(self, count: int) -> Any:
        """One half for a regression, 1 for the others; 1 without tasks to ask."""
        return ops.array([0.5 if task.kind == "regression" else 1.0 for task in self.tasks] or [1.0] * count)

    def task_weights(self, losses: Any, gram: Any, present: Any) -> Any:  # noqa: ARG002 - the contract's arguments
        """Weights of this step; the variances then move for the next."""
        if not self.built:
            self.prepare_for(losses.shape[0])
        factors = self.factors(losses.shape[0])
        weights = uncertainty_weights(self.log_variances, factors)
        self._learn(losses, factors, present)
        return weights

    def prepare_for(self, count: int) -> None:
        """Makes the state for a number of tasks of no stated kind."""
        self.build((count,))
        self.built = True

    def _learn(self, losses: Any, factors: Any, present: Any) -> None:
        """Moves the state of the tasks that are there; a loss that overflowed would poison it for good."""
        present = ops.logical_and(present, ops.isfinite(losses))
        gradient = uncertainty_gradient(losses, self.log_variances, factors)
        steps = self.steps + 1.0
        change, moments = adam_step(gradient, self.moments, steps, self.learning_rate)
        moved = ops.maximum(self.log_variances + change, self.floor)
        self.log_variances.assign(ops.where(present, moved, self.log_variances))
        self.moments.assign(ops.where(present[None, :], moments, self.moments))
        self.steps.assign(ops.where(present, steps, self.steps))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"learning_rate": self.learning_rate, "initial": self.initial, "floor": self.floor}
        return {**super().get_config(), **own}
