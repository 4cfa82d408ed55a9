"""What balancers share that take the logarithm or the inverse of a loss."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import is_number
from kmtl._types import Tensor
from kmtl.balancers.base import Balancer
from kmtl.balancers.by_task import by_task, check_by_task
from kmtl.balancers.signals import Signals

#: Keeps the logarithm and the inverse of a loss of 0 finite.
EPSILON = 1e-8


def excess(losses: Tensor, bounds: Tensor) -> Tensor:
    """How far losses are above their bounds, `D = L - b + 1e-8`, `(K,)`; NaN for a loss below its bound.

    >>> excess(ops.array([2.0, -1.0, -1.0]), ops.array([0.5, 0.0, -3.0])).numpy().tolist()
    [1.5, nan, 2.0]
    """
    above = losses - bounds
    return ops.where(above >= 0, above + EPSILON, float("nan"))


class BoundedBalancer(Balancer):
    """A balancer whose formula needs losses above 0.

    It works on `D_k = L_k - b_k + 1e-8`, and its gradient weights are the derivatives of its total by `L_k`. A
    loss below its bound has no logarithm: the step counts as a failure, and the last good weights stay.

    Args:
        lower_bounds: `{task: b}`, or one number a task in their order: what no loss of the task can go below. Give it
            for losses of your own that can be negative, such as likelihoods of densities; a task that is left out
            knows its own, which for most is 0.
        **options: As for `Balancer`.

    Raises:
        ValueError: If a bound is not finite, or, in `compile`, if a name is unknown.
        TypeError: If it is neither a dict nor a sequence.
    """

    def __init__(self, *, lower_bounds: Any = None, **options: Any) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.lower_bounds = check_by_task(owner, "lower_bounds", lower_bounds, is_number, "must hold finite numbers")

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state, and refuses a name that no task has."""
        by_task(type(self).__name__, "lower_bounds", self.lower_bounds, tasks, len(tasks), 0.0)
        super().prepare(tasks, size)

    def bounds(self, count: int) -> Tensor:
        """The bounds on the losses as the model has them, `(K,)`."""
        given = by_task(type(self).__name__, "lower_bounds", self.lower_bounds, self.tasks, count, None)
        own = [task.lowest_loss for task in self.tasks] or [0.0] * count
        values = [bound if value is None else value for value, bound in zip(given, own, strict=True)]
        return ops.array(values, "float32")

    def unit(self, count: int) -> Tensor:
        """What `normalize` divides losses by at this point of the training, `(K,)`."""
        ones = ops.ones((count,))
        # Nobody is present in this question, so it moves no state.
        return ones if self.initial is None else self.initial.of(ones, ops.zeros((count,), "bool"))

    def excess(self, signals: Signals) -> Tensor:
        """`D` of the losses that the method sees, `(K,)`; 1 where a task sits out."""
        count = signals.losses.shape[0]
        return ops.where(signals.present, excess(signals.losses, self.bounds(count) / self.unit(count)), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "lower_bounds": self.lower_bounds}
