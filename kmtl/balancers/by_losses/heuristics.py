"""Simple rules: by the number of labels, and by how much of its first loss a task still has."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import is_number, require
from kmtl._types import ByTask, Tensor
from kmtl.balancers.by_losses.bounds import BoundedBalancer
from kmtl.balancers.by_task import by_task, check_by_task
from kmtl.balancers.capping import CappedBalancer
from kmtl.balancers.normalizing import InitialLosses
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax


def power_shares(values: Tensor, exponent: float, present: Tensor) -> Tensor:
    """Weights proportional to a power, that sum to the number of tasks present: `K v_k^a / sum_j v_j^a`, `(K,)`.

    Args:
        values: Positive numbers, `(K,)`.
        exponent: The power a.
        present: Booleans `(K,)`.

    >>> power_shares(ops.array([1.0, 3.0]), -1.0, ops.array([True, True])).numpy().round(5).tolist()
    [1.5, 0.5]
    """
    # Through logarithms, so that no power leaves float32.
    logarithms = ops.log(ops.where(present, values, 1.0))
    return ops.sum(ops.cast(present, "float32")) * masked_softmax(exponent * logarithms, present)


@register("label_count")
class LabelCount(CappedBalancer):
    """Weighs tasks by how many labels they have.

        w_k = K * N_k^a / sum_j N_j^a

    over the tasks present. `N_k` is the number of labelled examples that the task has brought so far, or what `counts`
    says. A task's loss is a mean over its labelled examples, so that `a = 1` lets every labelled example count alike
    in the long run, `a = 0` every task, and a negative one lifts tasks with few labels.

    `kmtl.search.from_data.by_label_count` gives the same as fixed loss weights, before the training.

    Args:
        exponent: The power a.
        counts: `{task: number}` or one number a task in their order, above 0: fixed numbers in place of the running
            ones; a dict must name every task.
        **options: As for `CappedBalancer`: `cap`, and those of `Balancer`.

    Raises:
        ValueError: If a number is not positive, or, in `compile`, if a name is unknown or missing.
        TypeError: If `counts` is neither a dict nor a sequence.

    Source: a heuristic without a paper of its own.

    >>> balancer = LabelCount(counts=(300, 100))
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([1.0, 1.0]))).round(5).tolist()
    [1.5, 0.5]
    """

    def __init__(
        self, *, exponent: float = 1.0, counts: ByTask[float] | Sequence[float] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        require(is_number(exponent), "LabelCount", "exponent", "must be a finite number", exponent)
        self.exponent = float(exponent)
        rule = "must hold finite numbers above 0"
        self.fixed = check_by_task("LabelCount", "counts", counts, lambda value: is_number(value) and value > 0, rule)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state, and refuses counts that are not of these tasks."""
        values = by_task("LabelCount", "counts", self.fixed, tasks, len(tasks), None)
        missing = [task.name for task, value in zip(tasks, values, strict=True) if value is None]
        require(self.fixed is None or not missing, "LabelCount", "counts", f"must name {missing} too", self.fixed)
        super().prepare(tasks, size)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the running numbers of labels."""
        self.labels = self.state((input_shape[0],), "zeros", "labels")

    def task_weights(self, signals: Signals) -> Tensor:
        """Shares by the numbers, this batch included."""
        if self.fixed is not None:
            count = signals.losses.shape[0]
            given = by_task("LabelCount", "counts", self.fixed, self.tasks, count, 1.0)
            return power_shares(ops.array(given, "float32"), self.exponent, signals.present)
        # Whoever calls without counts counts batches.
        new = ops.ones_like(signals.losses) if signals.counts is None else ops.cast(signals.counts, "float32")
        self.move(self.labels, self.labels + new, signals.present)
        return power_shares(self.labels, self.exponent, signals.present)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "exponent": self.exponent, "counts": self.fixed}


@register("relative_loss")
class RelativeLoss(CappedBalancer, BoundedBalancer):
    """Weighs tasks by how much of their first loss is left.

        w_k = (D_k / D_k(0))^a,   D_k = L_k - b_k + 1e-8

    `D_k(0)` is the mean over the task's first 20 steps. With a positive power, tasks that learn slowly weigh
    more, and so does a task whose labels are noise; with a negative one, those that learn fast.

    Args:
        exponent: The power a.
        **options: As for `BoundedBalancer`, `lower_bounds`; as for `CappedBalancer`, `cap`; and those of `Balancer`.
            With `scale="paper"` the weights fall, for a positive power, as the losses do.

    Raises:
        ValueError: If the power is not finite.

    Source: a heuristic without a paper of its own; the ratio is the training rate of Chen et al., "GradNorm",
    ICML 2018.

    >>> balancer = RelativeLoss(scale="paper")
    >>> ops.convert_to_numpy(balancer.weigh(losses=ops.array([2.0, 5.0]))).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *, exponent: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        require(is_number(exponent), "RelativeLoss", "exponent", "must be a finite number", exponent)
        self.exponent = float(exponent)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the memory of the first losses."""
        self.first = InitialLosses(self, input_shape[0])

    def task_weights(self, signals: Signals) -> Tensor:
        """The power of the ratios."""
        above = self.excess(signals)
        first = self.first.of(above, signals.present & ops.isfinite(above))
        return ops.power(above / first, self.exponent)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "exponent": self.exponent}
