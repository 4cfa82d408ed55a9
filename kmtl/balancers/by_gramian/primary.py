"""The balancer of one task that leads and others that must not suffer."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_number, near, non_negative, refusal, require
from kmtl._types import Tensor
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, cosines, norms
from kmtl.balancers.solvers.quadratic import nonnegative_quadratic

# The square of a direction's length, relative to its terms, that float32 tells from 0.
VANISHED = 1e-6
# Where conditions exclude each other, the pulls grow without bound.
LARGEST_PULL = 1e4


def pcd_weights(gram: Tensor, present: Tensor, leads: Tensor, scales: Tensor, tau: float) -> Tensor:
    """Weights of priority-constrained descent, `(K,)`.

        d~ = argmin |d - g~_1|^2 / 2   so that   g~_j' d >= tau |g~_j|^2 for each j > 1
        d = d~ * |g_1| / |d~|,   g~_k = scale_k * g_k

    Args:
        gram: Gramian, `(K, K)`.
        present: Booleans `(K,)`.
        leads: 1 for the task that leads, 0 for the others, `(K,)`.
        scales: What each gradient is multiplied by, `(K,)`.
        tau: Share of its own progress that each other task is given.

    Returns:
        The weights; those of the leading task alone where no direction meets all conditions.

    >>> gram, both = ops.array([[1.0, -1.0], [-1.0, 2.0]]), ops.array([True, True])
    >>> found = pcd_weights(gram, both, ops.array([1.0, 0.0]), ops.array([1.0, 1.0]), 0.0)
    >>> [round(float(value), 4) for value in found]
    [1.4142, 0.7071]
    """
    angles = cosines(gram, present)
    lengths = norms(gram, present)
    leading = ops.sum(angles * leads[None, :], axis=1)
    # In units of the leading gradient, what each other task lacks.
    lack = tau * lengths * scales / ops.sum(leads * lengths * scales) - leading
    units = leads + _pulls(angles, lack, present & ops.equal(leads, 0.0))
    square = ops.sum(units * ops.sum(angles * units[None, :], axis=1))
    # A direction that rounding alone has left is none.
    square = ops.where(square > VANISHED * ops.square(ops.sum(units)), square, float("nan"))
    return units / ops.sqrt(square) * (ops.sum(leads * lengths) / lengths)


def _pulls(angles: Tensor, lack: Any, others: Any) -> Tensor:
    """Shares of the other tasks' unit gradients that give each what it lacks, `(K,)`; zeros where nothing can."""
    lack = ops.where(others, lack, 0.0)
    size = ops.maximum(ops.max(ops.abs(lack)), 1e-30)
    angles = ops.where(others[:, None] & others[None, :], angles, ops.eye(angles.shape[0]))
    pulls = nonnegative_quadratic(angles, -(lack / size)[None, :], others)[0]
    total = ops.sum(pulls)
    missing = ops.max(lack / size - ops.sum(angles * pulls[None, :], axis=1))
    feasible = (total < LARGEST_PULL) & (missing <= 1e-4 + 1e-6 * total)
    return ops.where(feasible, pulls * size, 0.0)


@register("pcd")
class PCD(GramianBalancer):
    """Follows one task as closely as the others' progress allows.

        d~ = argmin |d - g~_1|^2 / 2   so that   g~_j' d >= tau |g~_j|^2 for each j > 1
        d = d~ * |g_1| / |d~|,   g~_k = g_k / sqrt(v_k + eps)

    with `v_k` the moving average of `|g_k|^2`, corrected for its start. For one task that
    matters and auxiliaries that serve it. Where no direction meets
    all conditions, as for two opposite auxiliaries, the primary task goes alone.

    Args:
        primary: Name of the task that leads. Where it is None, or has no label in
            the batch, the first task of the batch leads.
        tau: Share of its own progress that each other task is given, in [0, 1].
        beta: Share of the moving average that is kept, in [0, 1).
        eps: Added to the squared lengths.
        **options: As for `GramianBalancer`.

    Source: "Not All Objectives Are Born Equal: Priority-Constrained Descent for
    Hierarchical Multi-Objective Optimization", TMLR 2026. Departures:
    a direction of zero is a failure; by default the weights sum to K.

    >>> gram = ops.array([[1.0, -1.0], [-1.0, 2.0]])
    >>> weights = PCD(scale="paper", tau=0.0).weigh(gram=gram)
    >>> [round(float(weight), 3) for weight in weights]
    [1.414, 0.707]
    """

    task_options: ClassVar[tuple[str, ...]] = ("primary",)

    def __init__(
        self, *, primary: str | None = None, tau: float = 0.02, beta: float = 0.999, eps: float = 1e-8, **options: Any
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        if primary is not None and not isinstance(primary, str):
            raise TypeError(refusal(owner, "primary", "must be None or the name of a task", primary))
        require(is_number(tau) and 0 <= tau <= 1, owner, "tau", "must be at least 0 and at most 1", tau)
        require(is_number(beta) and 0 <= beta < 1, owner, "beta", "must be at least 0 and below 1", beta)
        self.primary = primary
        self.tau, self.beta = float(tau), float(beta)
        self.eps = non_negative(owner, "eps", eps)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state for these tasks; refuses to follow another."""
        known = [task.name for task in tasks]
        found = self.primary is None or self.primary in known
        fix = near(str(self.primary), known)
        require(found, type(self).__name__, "primary", "must name one of the model's tasks", self.primary, fix)
        super().prepare(tasks, size)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the moving average of the squared lengths, and its age."""
        self.squares = self.state((input_shape[0],), "zeros", "squares")
        self.age = self.state((input_shape[0],), "zeros", "age")

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step."""
        present = signals.present
        # The average corrected for its start, moved as one: a difference of two near 1 would lose digits.
        age = self.age + 1.0
        share = (1.0 - self.beta) / -ops.expm1(age * math.log(max(self.beta, 1e-30)))
        self.move(self.squares, self.squares + share * (ops.diagonal(signals.gram) - self.squares), present)
        self.move(self.age, age, present)
        means = ops.where(present, self.squares, 1.0)
        scales = 1.0 / ops.sqrt(means + self.eps)
        return pcd_weights(signals.gram, present, self._leads(present), scales, self.tau)

    def _leads(self, present: Tensor) -> Tensor:
        """1 for the task that leads in this batch, `(K,)`; the first one where nobody is there."""
        named = [float(task.name == self.primary) for task in self.tasks] or [0.0] * present.shape[0]
        # The named task comes before all others, which keep their order.
        order = ops.cast(present, "float32") * (1.0 + ops.array(named))
        return ops.one_hot(ops.argmax(order), present.shape[0])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"primary": self.primary, "tau": self.tau, "beta": self.beta, "eps": self.eps}
        return {**super().get_config(), **own}
