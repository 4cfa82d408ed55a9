"""What every balancer of the gradients themselves shares."""

from collections.abc import Sequence
from typing import Any, ClassVar

from keras import ops

from kmtl._checks import near, require
from kmtl._types import Tensor
from kmtl.balancers.base import Balancer
from kmtl.balancers.gramian import LEVELS


class GradientBalancer(Balancer):
    """A balancer that looks at every element of the tasks' gradients.

    It holds one gradient a task at once, `(K, P)` in float32, where a method
    of the Gramian goes from tensor to tensor.

    Args:
        level: `"parameters"` takes the gradients of the shared weights, one backward
            pass through the trunk a task; `"features"` those of the trunk's output,
            for about the cost of the plain step.
        **options: As for `Balancer`; `update_every` must be 1.
    """

    needs: ClassVar[str] = "gradients"
    #: Whether the direction is a weighted sum of rows; without weights there is nothing to smooth.
    has_weights: ClassVar[bool] = False

    def __init__(self, *, level: str = "parameters", **options: Any) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        require(level in LEVELS, owner, "level", "must be 'parameters' or 'features'", level, near(str(level), LEVELS))
        self.level = level
        fix = "Leave it out, or take a method of the Gramian, such as 'upgrad'."
        rule = "must be 1: between its steps there would be no gradients of the tasks"
        require(self.update_every == 1, owner, "update_every", rule, self.update_every, fix)
        rule = "must be 0: this method has no weights to smooth"
        require(self.has_weights or not self.smoothing, owner, "smoothing", rule, self.smoothing, "Leave it out.")

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "level": self.level}


class RememberingBalancer(GradientBalancer):
    """A balancer with a memory of one number a task and shared weight, `(K, P)` in float32.

    The memory is as large as K copies of the shared weights: 40 tasks over a trunk
    of ten million weights take 1.6 GB. It belongs to the weights, so `level` must be
    `"parameters"`: the features of the next batch are those of other examples.
    The row of a task that sits out stands still, and its age with it.

    Args:
        **options: As for `GradientBalancer`.
    """

    has_weights: ClassVar[bool] = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        rule = "must be 'parameters': the memory is of the shared weights, not of a batch's features"
        fix = "Leave it out, or take a method without memory."
        require(self.level == "parameters", type(self).__name__, "level", rule, self.level, fix)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state for these tasks; without `size` it waits for the first gradients.

        Args:
            tasks: The model's tasks, in order.
            size: Number of shared weights.

        Raises:
            ValueError: If it holds the state of another number of tasks or of weights.
        """
        if size is None and not self.built:
            self.tasks = list(tasks)
            return
        super().prepare(tasks, size)
        known = self.memory.shape[1]
        fix = "Make a new one: its memory belongs to the weights that it has seen."
        require(size in (None, known), type(self).__name__, "size", f"must be {known} again", size, fix)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the memory, of zeros, and how often each task was there."""
        self.memory = self.state(tuple(input_shape), "zeros", "memory")
        self.ages = self.state((input_shape[0],), "zeros", "ages")

    def grow(self, present: Tensor) -> Tensor:
        """Counts a step of the tasks present; returns the ages `(K,)`, at least 1."""
        self.move(self.ages, self.ages + 1.0, present)
        return ops.maximum(self.ages, 1.0)

    def remember(self, rows: Tensor, sizes: Tensor, present: Tensor) -> Tensor:
        """Takes in rows `(K, P)` whose sizes `(K,)` are finite; returns of which tasks, `(K,)`."""
        sound = present & ops.isfinite(sizes)
        self.move(self.memory, rows, sound)
        return sound


def lengths(rows: Tensor, present: Tensor) -> Tensor:
    """Lengths of rows, `(K,)`; 1 where a task sits out, so that a division is safe.

    >>> lengths(ops.array([[3.0, 4.0], [0.0, 0.0]]), ops.array([True, False])).numpy().tolist()
    [5.0, 1.0]
    """
    squares = ops.sum(ops.square(rows), axis=1)
    return ops.where(present, ops.sqrt(ops.where(present, squares, 1.0)), 1.0)
