"""Balancers that leave out what lies far from the rest."""

from typing import Any

from keras import ops

from kmtl._checks import require, whole
from kmtl._types import Tensor
from kmtl.balancers.by_gradients.base import GradientBalancer
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals

_INFINITY = float("inf")


def _without_lowest(value: Tensor, slots: list[Any]) -> tuple[Any, list[Any]]:
    """Offers a value to slots that hold the lowest so far; returns what they let go, and the slots."""
    held = []
    for slot in slots:
        held.append(ops.minimum(slot, value))
        value = ops.maximum(slot, value)
    return value, held


def trimmed_mean(gradients: Tensor, present: Tensor, trim: int) -> Tensor:
    """Mean of each element over the tasks, without its `trim` lowest and highest values.

    With too few tasks present, as many are trimmed as leave one: `min(trim, floor((n - 1) / 2))`
    on each side, so that two tasks give their mean, three their median at most.
    It passes the rows by once and sorts nothing: a sort takes twenty times as long.

    Args:
        gradients: `(K, P)`.
        present: Booleans `(K,)`.
        trim: Number of values cut from each side.

    Returns:
        The mean of the others, `(P,)`.

    >>> gradients = ops.array([[1.0, 9.0], [2.0, -50.0], [90.0, 7.0]])
    >>> ops.convert_to_numpy(trimmed_mean(gradients, ops.array([True, True, True]), 1)).tolist()
    [2.0, 7.0]
    """
    number = ops.sum(ops.cast(present, "float32"))
    cut = ops.clip(ops.floor((number - 1.0) / 2.0), 0.0, float(trim))
    # A slot that is not used holds -inf and lets every value pass; one that is, lets go of +inf first.
    empty = [ops.where(cut > place, _INFINITY, -_INFINITY) * ops.ones_like(gradients[0]) for place in range(trim)]
    lowest, highest, total = empty, list(empty), ops.zeros_like(gradients[0])
    for row in range(gradients.shape[0]):
        value, lowest = _without_lowest(ops.where(present[row], gradients[row], _INFINITY), lowest)
        # The highest are the lowest of the negated values; +inf still means that there is none.
        value, highest = _without_lowest(ops.where(ops.isfinite(value), -value, _INFINITY), highest)
        total = total + ops.where(ops.isfinite(value), -value, 0.0)
    return total / ops.maximum(number - 2.0 * cut, 1.0)


@register("trimmed_mean")
class TrimmedMean(GradientBalancer):
    """Averages each element of the gradients without its lowest and highest values.

        d = n * mean of what is left of g_1 .. g_n, element by element, after `trim` values are cut at each end

    One task, of broken labels or a runaway loss, cannot pull the others far. What
    is rare is cut too: a task whose gradient is like no other's trains its head
    alone. With three tasks and `trim=1` it is the median. It promises no common descent.

    Args:
        trim: Number of values cut at each end; the model needs `2 * trim + 1` tasks. In a batch
            with fewer of them less is cut, so that a value is left. None cuts all but the
            one or two in the middle: the median.
        **options: As for `GradientBalancer`. `scale="paper"` is the mean, `"sum"` that times the
            number of tasks present, the length of the plain sum.

    Raises:
        ValueError: If the model has too few tasks.

    Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal
    Statistical Rates", ICML 2018, of workers; here the tasks are the workers.
    Departure: a task whose gradient is zero sits out; it is no vote for zero.

    >>> gradients = ops.array([[1.0, 9.0], [2.0, -50.0], [90.0, 7.0]])
    >>> ops.convert_to_numpy(TrimmedMean(scale="paper").combine(gradients)).tolist()
    [2.0, 7.0]
    """

    def __init__(self, *, trim: int | None = 1, **options: Any) -> None:
        super().__init__(**options)
        self.trim = None if trim is None else whole("TrimmedMean", "trim", trim, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Refuses more than the tasks can spare."""
        most = (input_shape[0] - 1) // 2
        rule = f"must be at most {most} of {input_shape[0]} tasks: a value must be left"
        require(self.trim is None or self.trim <= most, "TrimmedMean", "trim", rule, self.trim)

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The trimmed mean, or as long as a sum."""
        trim = (gradients.shape[0] - 1) // 2 if self.trim is None else self.trim
        mean = trimmed_mean(gradients, signals.present, trim)
        return (mean if self.scale == "paper" else mean * signals.number), None

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "trim": self.trim}


def squared_distances(gram: Tensor) -> Tensor:
    """Squared distances of the tasks' gradients, `M_ii + M_jj - 2 M_ij`, `(K, K)`.

    >>> squared_distances(ops.array([[4.0, 1.0], [1.0, 9.0]])).numpy().tolist()
    [[0.0, 11.0], [11.0, 0.0]]
    """
    squares = ops.diagonal(gram)
    # A product of matrices need not be symmetric to the last digit; equal distances must be.
    return ops.maximum(squares[:, None] + squares[None, :] - gram - ops.transpose(gram), 0.0)


def krum_weights(distances: Tensor, present: Tensor, byzantine: int, selected: int | None = None) -> Tensor:
    """Equal weights for the tasks with the nearest neighbours, 0 for the others.

        score_i = sum of the n - byzantine - 2 smallest distances of task i to another

    With fewer than `byzantine + 3` tasks present the one nearest neighbour counts. Tasks of
    equal scores share what is left for them: with one neighbour counted there are always two.

    Args:
        distances: Of the tasks' gradients, squared as in the paper or not, `(K, K)`.
        present: Booleans `(K,)`.
        byzantine: How many tasks may be broken.
        selected: How many to take; None for all present but `byzantine`, and at least one.

    Returns:
        Weights `(K,)` that sum to 1: 1 over the number taken, less where tasks share.

    >>> distances = ops.square(ops.array([[0.0, 1.0, 3.0, 9.0], [1.0, 0.0, 2.0, 8.0], [3.0, 2, 0, 6], [9.0, 8, 6, 0]]))
    >>> krum_weights(distances, ops.array([True] * 4), 1, 2).numpy().tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    count = distances.shape[0]
    number = ops.sum(ops.cast(present, "float32"))
    places = ops.arange(count, dtype="float32")
    other = present[:, None] & present[None, :] & ops.not_equal(places[:, None], places[None, :])
    near = ops.sort(ops.where(other, distances, _INFINITY), axis=1)
    counted = (places < ops.maximum(number - byzantine - 2.0, 1.0)) & ops.isfinite(near)
    scores = ops.where(present, ops.sum(ops.where(counted, near, 0.0), axis=1), _INFINITY)
    better = ops.sum(ops.cast(scores[None, :] < scores[:, None], "float32"), axis=1)
    alike = ops.sum(ops.cast(scores[None, :] == scores[:, None], "float32"), axis=1)
    wanted = ops.maximum(number - byzantine, 1.0) if selected is None else ops.minimum(float(selected), number)
    taken = ops.clip((wanted - better) / alike, 0.0, 1.0)
    return ops.where(present, taken, 0.0) / ops.maximum(wanted, 1.0)


@register("krum")
class Krum(GramianBalancer):
    """Sums the gradients that lie closest to their neighbours (Multi-Krum).

        score_i = sum of |g_i - g_j|^2 over the n - byzantine - 2 nearest j;  the lowest scores are taken

    A task whose gradient is far from all others, through broken labels or sheer
    length, gets weight 0 and trains its head alone; so does a healthy task that is
    like no other. Distances see the lengths: `normalize="l2"` compares directions
    alone. It promises no common descent.

    Args:
        byzantine: How many tasks may be broken; above 0 the model needs `byzantine + 3` tasks.
        selected: How many tasks are taken; None for all that are present but `byzantine`. 1 is Krum itself.
        **options: As for `GramianBalancer`. `scale="paper"` is the mean of those taken.

    Raises:
        ValueError: If the model has too few tasks.

    Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017, of workers; here the tasks are the workers.
    Departures: by default the weights sum to K; of tasks with equal scores none goes first.
    TorchJD's scores sum distances, not their squares.

    >>> gram = ops.array([[1.0, 1.0, 1.0, -9.0], [1.0, 1.0, 1.0, -9.0], [1.0, 1.0, 1.0, -9.0], [-9.0, -9, -9, 81]])
    >>> [round(float(weight), 3) for weight in Krum(scale="paper").weigh(gram=gram)]
    [0.333, 0.333, 0.333, 0.0]
    """

    def __init__(self, *, byzantine: int = 1, selected: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.byzantine = whole("Krum", "byzantine", byzantine, 0)
        self.selected = None if selected is None else whole("Krum", "selected", selected, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Refuses more than the tasks can spare."""
        count = input_shape[0]
        most = max(0, count - 3)
        rule = f"must be at most {most} of {count} tasks: three more must be there"
        require(self.byzantine <= most, "Krum", "byzantine", rule, self.byzantine)
        rule = f"must be at most {count}, the number of tasks"
        require(self.selected is None or self.selected <= count, "Krum", "selected", rule, self.selected)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the tasks taken."""
        # Relative to the longest, so that no sum overflows.
        longest = ops.max(ops.diagonal(signals.gram))
        distances = squared_distances(signals.gram / ops.where(longest > 0, longest, 1.0))
        return krum_weights(distances, signals.present, self.byzantine, self.selected)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "byzantine": self.byzantine, "selected": self.selected}
