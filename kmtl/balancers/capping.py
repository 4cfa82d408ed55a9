"""Balancers whose weights stay within a multiple of their mean."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, require
from kmtl._types import Tensor
from kmtl.balancers.base import Balancer
from kmtl.balancers.signals import Signals

#: The least weight, relative to the mean, that is told from none.
LEAST = 1e-12


def check_cap(owner: str, cap: Any) -> float | None:
    """Returns a cap as a float, or refuses it."""
    good = cap is None or (is_number(cap) and cap > 1)
    fix = "3 keeps every weight from a third of the mean to three times the mean; static weights of 1 are equal ones."
    require(good, owner, "cap", "must be None or a finite number above 1", cap, fix)
    return None if cap is None else float(cap)


def capped(weights: Tensor, present: Tensor, cap: float) -> Tensor:
    """Weights between `mean / cap` and `cap * mean` of the same sum, `(K,)`; 0 where a task sits out.

        w_k <- clip(s w_k, mean / cap, cap * mean),   s such that the sum stays

    The clipped sum grows with s and is linear between the 2 K points where a task meets an end, so that s is exact.
    Weights within the cap stay as they are, and those that are not clipped keep their ratios.

    Args:
        weights: At least 0, `(K,)`.
        present: Booleans `(K,)`.
        cap: Above 1.

    >>> weights = capped(ops.array([8.0, 1.0, 3.0]), ops.array([True, True, True]), 1.5)
    >>> [round(float(weight), 3) for weight in weights]
    [6.0, 2.667, 3.333]
    """
    there = ops.cast(present, weights.dtype)
    number = ops.sum(there)
    mean = ops.sum(there * weights) / ops.maximum(number, 1.0)
    relative = ops.where(present & (mean > 0), weights / ops.where(mean > 0, mean, 1.0), 1.0)
    relative = ops.maximum(relative, LEAST)

    def clipped(factors: Tensor) -> Tensor:
        return there * ops.clip(factors[:, None] * relative, 1.0 / cap, cap)

    factors = ops.concatenate([1.0 / cap / relative, cap / relative])
    sums = ops.sum(clipped(factors), axis=1)
    below = ops.max(ops.where(sums <= number, factors, ops.min(factors)))
    above = ops.min(ops.where(sums >= number, factors, ops.max(factors)))
    ends = clipped(ops.stack([below, above]))
    low, high = ops.sum(ends[0]), ops.sum(ends[1])
    share = ops.where(high > low, (number - low) / ops.where(high > low, high - low, 1.0), 0.0)
    # Between two vectors within the cap, so that rounding cannot leave it.
    share = ops.clip(share, 0.0, 1.0)
    return mean * ((1.0 - share) * ends[0] + share * ends[1])


class CappedBalancer(Balancer):
    """A balancer by how hard tasks are, that can be kept from trusting its measure too far.

    A task whose labels are noise looks like a hard one, whatever the measure.

    Args:
        cap: None, or how far a weight may be from the mean weight of the tasks present: at most `cap` times it, at
            least its `1 / cap`. The sum stays what it is without a cap.
        **options: As for `Balancer`. Static `loss_weights` multiply the losses beside the capped weights.

    Raises:
        ValueError: If the cap is not above 1.
    """

    def __init__(self, *, cap: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.cap = check_cap(type(self).__name__, cap)

    def _rescale(self, weights: Tensor, signals: Signals) -> Tensor:
        """Weights of the length that `scale` asks for, within the cap."""
        found = super()._rescale(weights, signals)
        return found if self.cap is None else capped(found, signals.present, self.cap)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "cap": self.cap}
