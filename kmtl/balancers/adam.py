"""A balancer's own optimizer."""

from typing import Any

from keras import ops

from kmtl._types import Tensor

LARGEST = 1e15


def adam_step(gradient: Tensor, moments: Tensor, steps: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
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


class OwnAdam:
    """Adam's memory of a balancer's own parameters, one a task; those of an absent task stand still.

    Args:
        owner: The balancer whose state it is.
        count: Number of tasks.
        learning_rate: Of the parameters.
    """

    def __init__(self, owner: Any, count: int, learning_rate: float) -> None:
        self.owner = owner
        self.learning_rate = learning_rate
        self.moments = owner.state((count, 2), "zeros", "moments")
        self.steps = owner.state((count,), "zeros", "steps")

    def next_parameters(self, parameters: Tensor, gradient: Tensor, present: Tensor) -> Tensor:
        """Parameters `(K,)` after a step; the memory moves on."""
        # Its square must not leave float32.
        gradient = ops.where(present, ops.clip(gradient, -LARGEST, LARGEST), 0.0)
        steps = self.steps + 1.0
        change, moments = adam_step(gradient, ops.transpose(self.moments), steps, self.learning_rate)
        self.owner.move(self.moments, ops.transpose(moments), present)
        self.owner.move(self.steps, steps, present)
        return ops.where(present, parameters + change, parameters)
