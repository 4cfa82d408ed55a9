"""Balancers that look at nothing: the sum of the losses, and fixed weights."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import require
from kmtl._types import ByTask, Tensor
from kmtl.balancers.base import Balancer
from kmtl.balancers.by_task import by_task, check_amounts
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals


@register("equal")
class Equal(Balancer):
    """Weight 1 for every task: the sum of the losses, which is plain Keras.

    >>> ops.convert_to_numpy(Equal().weigh(losses=ops.array([1.0, 3.0]))).tolist()
    [1.0, 1.0]
    """

    def task_weights(self, signals: Signals) -> Tensor:
        """Ones."""
        return ops.ones_like(signals.losses)

    def _settle(self, weights: Tensor, signals: Signals) -> Tensor:
        """Ones without the work that other weights need: they cannot fail, and are as long as `scale` asks for."""
        if self.normalize or self.smoothing:
            return super()._settle(weights, signals)
        self.move(self.seen, ops.ones_like(weights), signals.present)
        self.step.assign_add(1.0)
        return ops.cast(signals.present, "float32")


@register("static")
class Static(Balancer):
    """Weights that the user gives and that do not move.

        total = sum_k w_k * L_k

    `compile(loss_weights=...)` says the same without a balancer. Here the weights are rescaled to sum to the
    number of tasks present, so that the step keeps its length when a task is missing from a batch. A weight
    of 1 for one task and 0 for the others is single-task training. Well-searched fixed weights are hard to
    beat: most gains of moving ones vanish against them (Xin et al., "Do Current Multi-Task Optimization
    Methods in Deep Learning Even Help?", NeurIPS 2022).

    Args:
        weights: `{task: weight}`, one weight a task in their order, or None for ones; a task left out of a dict
            weighs 1. At least 0, and not all 0.
        **options: As for `Balancer`; `scale="paper"` takes the weights as they are.

    Raises:
        ValueError: If a weight is negative, or, in `compile`, if a name is unknown or all weights are 0.
        TypeError: If it is neither a dict nor a sequence.

    >>> ops.convert_to_numpy(Static(weights=(3, 1)).weigh(losses=ops.array([1.0, 3.0]))).tolist()
    [1.5, 0.5]
    """

    def __init__(self, *, weights: ByTask[float] | Sequence[float] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.given = check_amounts("Static", "weights", weights)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state, and refuses a name that no task has, and weights that are all 0."""
        found = by_task("Static", "weights", self.given, tasks, len(tasks), 1.0)
        require(sum(found) > 0, "Static", "weights", "must hold a number above 0", self.given)
        super().prepare(tasks, size)

    def task_weights(self, signals: Signals) -> Tensor:
        """The weights that were given."""
        count = signals.losses.shape[0]
        return ops.array(by_task("Static", "weights", self.given, self.tasks, count, 1.0), "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "weights": self.given}
