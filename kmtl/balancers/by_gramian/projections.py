"""Balancers that turn each gradient away from those that it conflicts with."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, require
from kmtl._types import Tensor
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, cosines, norms

# Cosines are kept off 1, where a sine vanishes.
STEEPEST = 1.0 - 1e-6
VANISHED = 1e-6


def random_orders(count: int, seeds: Any) -> Tensor:
    """An order of all tasks for each task, `(K, K)` ints.

    >>> ops.convert_to_numpy(ops.sort(random_orders(2, keras.random.SeedGenerator(1)), axis=1)).tolist()
    [[0, 1], [0, 1]]
    """
    return ops.argsort(keras.random.uniform((count, count), seed=seeds), axis=1)


def pcgrad_weights(gram: Tensor, orders: Tensor, present: Tensor = None) -> Tensor:
    """Coefficients of the sum of the projected gradients.

    Each task's gradient, `c_i = e_i` at first, is projected on the normal
    plane of every other gradient that it conflicts with, in the given order:

        if c_i M_j < 0:  c_ij -= c_i M_j / M_jj

    Args:
        gram: Gramian `M`, `(K, K)`.
        orders: Row i is the order in which task i meets the others, `(K, K)` ints.
        present: Booleans `(K,)`; None is all.

    Returns:
        Sum of the rows `c_i`, `(K,)`.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> first, second = pcgrad_weights(gram, ops.array([[0, 1], [1, 0]]))
    >>> round(float(first), 4), round(float(second), 4)
    (2.2222, 1.5789)
    """
    present = ops.diagonal(gram) > 0 if present is None else present
    angles = cosines(gram, present)

    def meet(turn: Any, units: Tensor) -> Tensor:
        other, meets = _encounter(orders, turn, present)
        product = ops.sum(units * ops.take(angles, other, axis=0), axis=1)
        shift = ops.where(meets, ops.minimum(product, 0.0), 0.0)
        return units - shift[:, None] * ops.one_hot(other, gram.shape[0])

    return _sum_rows(ops.fori_loop(0, gram.shape[0], meet, ops.eye(gram.shape[0])), gram, present)


def gradvac_weights(
    gram: Tensor, orders: Tensor, targets: Tensor, beta: float, present: Tensor = None
) -> tuple[Tensor, Tensor]:
    """Coefficients of the sum of the vaccinated gradients, and the targets of the next step.

    Each task's gradient `c_i` meets every other `g_j` in the given order, with
    cosine `a` where `b` is the target of the pair:

        if a < b:  c_i += |c_i| / |g_j| * (b sqrt(1 - a^2) - a sqrt(1 - b^2)) / sqrt(1 - b^2) g_j
        b <- (1 - beta) b + beta a

    Args:
        gram: Gramian, `(K, K)`.
        orders: Row i is the order in which task i meets the others, `(K, K)` ints.
        targets: Cosines that are aimed at, `(K, K)`.
        beta: Share of the cosine seen in the next target.
        present: Booleans `(K,)`; None is all.

    Returns:
        Weights `(K,)` and targets `(K, K)`; those of pairs that did not meet are as they were.

    >>> gram, orders = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([[0, 1], [1, 0]])
    >>> weights, targets = gradvac_weights(gram, orders, ops.zeros((2, 2)), 0.5)
    >>> round(float(weights[0]), 4), round(float(weights[1]), 4), round(float(targets[0, 1]), 4)
    (2.2222, 1.5789, -0.4206)
    """
    present = ops.diagonal(gram) > 0 if present is None else present
    angles = cosines(gram, present)

    def meet(turn: Any, state: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        return _vaccinate(*state, angles, beta, *_encounter(orders, turn, present))

    units, targets = ops.fori_loop(0, gram.shape[0], meet, (ops.eye(gram.shape[0]), targets))
    return _sum_rows(units, gram, present), targets


def _vaccinate(
    units: Tensor, targets: Tensor, angles: Tensor, beta: float, other: Any, meets: Any
) -> tuple[Tensor, Tensor]:
    """Rows of coefficients and targets after each task has met one other."""
    column = ops.one_hot(other, angles.shape[0])
    product = ops.sum(units * ops.take(angles, other, axis=0), axis=1)
    square = ops.sum(units * ops.matmul(units, angles), axis=1)
    # A gradient that others have cancelled has no angle left.
    meets = meets & (square > VANISHED)
    length = ops.sqrt(ops.where(meets, square, 1.0))
    seen = ops.clip(product / length, -STEEPEST, STEEPEST)
    aim = ops.sum(targets * column, axis=1)
    shift = length * (aim * _sine(seen) / _sine(aim) - seen)
    units = units + ops.where(meets & (seen < aim), shift, 0.0)[:, None] * column
    return units, targets + ops.where(meets, beta * (seen - aim), 0.0)[:, None] * column


def _encounter(orders: Tensor, turn: Any, present: Tensor) -> tuple[Tensor, Tensor]:
    """Whom each task meets in a turn, `(K,)`, and whether it does: not itself, and both are there."""
    other = ops.cast(ops.take(orders, turn, axis=1), "int32")
    stranger = ops.not_equal(other, ops.arange(orders.shape[0], dtype="int32"))
    return other, stranger & present & ops.take(present, other)


def _sine(cosine: Any) -> Tensor:
    """Sine of an angle whose cosine is given."""
    return ops.sqrt((1.0 - cosine) * (1.0 + cosine))


def _sum_rows(units: Tensor, gram: Tensor, present: Tensor) -> Tensor:
    """Weights of the raw gradients from rows of coefficients in units of the gradient that each row began with."""
    lengths = norms(gram, present)
    # The ratio of two lengths: neither alone may stay in float32 when multiplied.
    ratios = ops.where(present[:, None], lengths[:, None] / lengths[None, :], 0.0)
    return ops.sum(units * ratios, axis=0)


@register("pcgrad")
class PCGrad(GramianBalancer):
    """Projects conflicting gradients off each other, in random order.

    Without conflict it is the plain sum. With two tasks the closed form is
    `w_1 = 1 + max(0, -cos) * n_2 / n_1`, and the same with 1 and 2 exchanged.
    From three tasks on it does not promise a direction that ascends no task.

    Args:
        seed: Of the random orders; None draws one from Keras's global seed.
        **options: As for `GramianBalancer`.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
    Departure: by default the weights are rescaled to sum to K. The authors'
    code discards its shuffle; the paper's random order is used here.

    >>> gram = ops.array([[4.0, 1.0], [1.0, 9.0]])
    >>> ops.convert_to_numpy(PCGrad().weigh(gram=gram)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights under a fresh random order for each task."""
        orders = random_orders(signals.gram.shape[0], self.seed_generator)
        return pcgrad_weights(signals.gram, orders, signals.present)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "seed": self.seed}


@register("gradvac")
class GradVac(GramianBalancer):
    """Turns each gradient until its cosine with the others is at least the usual one.

    Each task's gradient `c_i` meets every other `g_j` in random order. Where their cosine `a`
    is below the target `b_ij`, a share of `g_j` is added that makes it the target:

        c_i += |c_i| / |g_j| * (b sqrt(1 - a^2) - a sqrt(1 - b^2)) / sqrt(1 - b^2) g_j
        b_ij <- (1 - beta) b_ij + beta a

    With targets of 0, as in the first step, it is PCGrad. It promises no descent of every task
    from three tasks on. A pair's target stands still unless both tasks are there.

    Args:
        beta: Share of the cosine seen in the next target, in [0, 1]; the paper's is 0.01, LibMTL's 0.5.
        seed: Of the random orders; None draws one from Keras's global seed.
        **options: As for `GramianBalancer`.

    Source: Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task
    Optimization in Massively Multilingual Models", ICLR 2021. Departures: cosines are
    clipped to 1 - 1e-6; the whole trunk is one group; by default absolute weights sum to K.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(weight), 4) for weight in GradVac(scale="paper").weigh(gram=gram)]
    [2.2222, 1.5789]
    """

    def __init__(self, *, beta: float = 0.01, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        in_range = is_number(beta) and 0 <= beta <= 1
        require(in_range, type(self).__name__, "beta", "must be at least 0 and at most 1", beta)
        self.beta = float(beta)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes a target for each ordered pair."""
        self.targets = self.state((input_shape[0], input_shape[0]), "zeros", "targets")

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights under a fresh random order for each task; the targets then move for the next."""
        orders = random_orders(signals.gram.shape[0], self.seed_generator)
        targets = ops.convert_to_tensor(self.targets)
        weights, targets = gradvac_weights(signals.gram, orders, targets, self.beta, signals.present)
        self.targets.assign(targets)
        return weights

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "beta": self.beta, "seed": self.seed}
