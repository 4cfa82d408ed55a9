"""Uncertainty weighting without learning: the best variance of every step in closed form."""

from typing import Any

from kmtl._checks import is_number, require
from kmtl._types import Tensor
from kmtl.balancers.by_losses.bounds import BoundedBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax


@register("uw_so")
class UWSO(BoundedBalancer):
    """Soft optimal uncertainty weighting: a softmax of the inverse losses.

        w = softmax((1 / D) / T),   D_k = L_k - b_k + 1e-8

    No inertia, one number to tune: the authors try 5 to 7 values of T and match a grid search over fixed
    weights. A small T is nearly an argmax on the easiest task, the more so as losses fall; `normalize="initial"`
    brings the losses to one scale first.

    Args:
        temperature: T, above 0; None takes the optimal variances as they are, `w = 1 / D` (the authors' UW-O,
            the weights of `SI`). The default is a start for tuning, not a recommendation of the paper.
        **options: As for `BoundedBalancer`: `lower_bounds`, and those of `Balancer`. With `scale="paper"` the
            weights sum to 1.

    Source: Kirchdorfer et al., "Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning", GCPR 2024.
    Departures: the weights sum to K by default; 1e-8 keeps them finite at a loss of 0; lower bounds.

    >>> from keras import ops
    >>> weights = UWSO(temperature=1, scale="paper").weigh(losses=ops.array([0.8, 0.3, 1.5]))
    >>> [round(float(weight), 5) for weight in weights]
    [0.10428, 0.83752, 0.05819]
    """

    def __init__(self, *, temperature: float | None = 10.0, **options: Any) -> None:
        super().__init__(**options)
        good = temperature is None or (is_number(temperature) and temperature > 0)
        require(good, "UWSO", "temperature", "must be None or a finite number above 0", temperature)
        self.temperature = None if temperature is None else float(temperature)

    def task_weights(self, signals: Signals) -> Tensor:
        """Shares by the inverse losses."""
        inverse = 1.0 / self.excess(signals)
        return inverse if self.temperature is None else masked_softmax(inverse / self.temperature, signals.present)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "temperature": self.temperature}
