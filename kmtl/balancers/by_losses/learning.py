"""What balancers share that learn one parameter a task."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.adam import OwnAdam
from kmtl.balancers.base import Balancer
from kmtl.balancers.signals import Signals


class LearningBalancer(Balancer):
    """A balancer that learns one parameter a task, beside the model.

    The parameters have their own Adam and learning rate, no weight decay touches them, no exported model carries
    them. A task absent from the batch keeps its parameter and its moments. Weights are taken before the
    parameters move. Losses may be negative.

    Args:
        learning_rate: Of the parameters.
        initial: Each parameter at the start.
        floor: Lowest value of a parameter.
        ceiling: Highest value of a parameter.
        **options: As for `Balancer`.

    Raises:
        ValueError: If the learning rate is negative, or `initial` is not between `floor` and `ceiling`.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.01,
        initial: float = 0.0,
        floor: float = -20.0,
        ceiling: float = 20.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.learning_rate = non_negative(owner, "learning_rate", learning_rate)
        require(is_number(initial), owner, "initial", "must be a finite number", initial)
        low = is_number(floor) and floor <= initial
        require(low, owner, "floor", f"must be a number of at most `initial`, {initial}", floor)
        high = is_number(ceiling) and ceiling >= initial
        require(high, owner, "ceiling", f"must be a number of at least `initial`, {initial}", ceiling)
        self.start = float(initial)
        self.floor = float(floor)
        self.ceiling = float(ceiling)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the parameters and what Adam remembers."""
        count = input_shape[0]
        self.learned = self.state((count,), "zeros", "learned")
        self.learned.assign(ops.full((count,), self.start))
        self.adam = OwnAdam(self, count, self.learning_rate)

    def weights_of(self, parameters: Tensor) -> Tensor:
        """Weights of the losses, `(K,)`, under these parameters."""
        raise NotImplementedError

    def slope(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """Derivative of the total by the parameters, `(K,)`."""
        raise NotImplementedError

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step; the parameters then move for the next."""
        weights = self.weights_of(self.learned)
        slope = self.slope(signals.losses, self.learned)
        moved = self.adam.next_parameters(self.learned, slope, signals.present)
        self.move(self.learned, ops.clip(moved, self.floor, self.ceiling), signals.present)
        return weights

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"learning_rate": self.learning_rate, "initial": self.start}
        return {**super().get_config(), **own, "floor": self.floor, "ceiling": self.ceiling}
