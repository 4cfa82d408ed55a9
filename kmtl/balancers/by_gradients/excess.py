"""Balancers that ask how far each task is from its own optimum."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, require, whole
from kmtl._types import Tensor
from kmtl.balancers.by_gradients.base import RememberingBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax

_FLOOR = 1e-7


def excess_risks(gradients: Tensor, squares: Tensor) -> Tensor:
    """Estimated distance of each loss to its optimum, `sum_p g_kp^2 / sqrt(S_kp + 1e-7)`, `(K,)`.

    Args:
        gradients: `(K, P)`.
        squares: Sums `S` of the squared gradients of all steps, this one included, `(K, P)`.

    >>> excess_risks(ops.array([[3.0, 4.0]]), ops.array([[9.0, 64.0]])).numpy().round(4).tolist()
    [5.0]
    """
    return ops.sum(ops.square(gradients) / ops.sqrt(squares + _FLOOR), axis=1)


@register("excess")
class ExcessMTL(RememberingBalancer):
    """Raises the tasks that are far from their own optimum, which need not be those of a large loss.

        e_k = sum_p g_kp^2 / sqrt(S_kp),   S_k the sum of g_k^2 over the steps
        w_k <- w_k exp(step_size * e_k / e_k(0)), normalised

    Made for noisy labels: their loss stays large, so that a method of the losses
    trains on noise, while their gradients average out. Its exponential gains have no
    counterweight: a task whose excess falls more slowly than the others' takes more and more
    of the sum. It promises no common descent. The memory is K times the shared weights.

    Args:
        step_size: Of the weights' exponents. 1 is the authors' script, 0.01 LibMTL.
        warmup: Number of a task's steps whose mean excess is its `e_k(0)`, and in which its weight rests. The
            paper takes those of three epochs; 1 is the authors' and LibMTL's code. One batch is a noisy yardstick.
        **options: As for `RememberingBalancer`.

    Source: He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024.
    Departures: the weights weigh the trunk's gradient, each head gets its own; they
    sum to K by default, to 1 with `scale="paper"`; they are kept as logarithms, so that none is lost at 0.

    >>> balancer = ExcessMTL()
    >>> gradients = ops.array([[2.0, 0.0], [0.0, 4.0]])
    >>> ops.convert_to_numpy(balancer.combine(gradients)).tolist()
    [2.0, 4.0]
    """

    def __init__(self, *, step_size: float = 0.01, warmup: int = 20, **options: Any) -> None:
        super().__init__(**options)
        right = is_number(step_size) and step_size > 0
        require(right, "ExcessMTL", "step_size", "must be a finite number above 0", step_size)
        self.step_size = float(step_size)
        self.warmup = whole("ExcessMTL", "warmup", warmup, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the sums of squares, the first excesses, and the weights' logarithms."""
        super().build(input_shape)
        self.first = self.state((input_shape[0],), "zeros", "first")
        self.logits = self.state((input_shape[0],), "zeros", "logits")

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The gradients and their weights, moved on."""
        squares = self.memory + ops.square(gradients)
        sound = self.remember(squares, ops.sum(squares, axis=1), signals.present)
        ages = self.grow(sound)
        excess = excess_risks(gradients, self.memory)
        early = ages <= self.warmup
        self.move(self.first, self.first + (excess - self.first) / ages, sound & early)
        # A task in its warm-up neither rises nor falls among others: its excess is what it is at first.
        relative = ops.where(early | (self.first <= 0), 1.0, excess / ops.where(self.first > 0, self.first, 1.0))
        weights = self.next_weights(self.step_size * relative, sound)
        return gradients, ops.where(sound, weights, float("nan"))

    def next_weights(self, gains: Tensor, present: Tensor) -> Tensor:
        """Weights `(K,)` that sum to 1 after a step; the tasks present share what they shared before."""
        # One step of e^1e6 is as good as infinite, and can be undone.
        raised = ops.where(present, self.logits + ops.minimum(gains, 1e6), -1e30)
        before = ops.logsumexp(ops.where(present, self.logits, -1e30))
        self.move(self.logits, raised - ops.logsumexp(raised) + before, present)
        return masked_softmax(raised, present)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "step_size": self.step_size, "warmup": self.warmup}
