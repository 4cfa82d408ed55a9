"""Balancers that track the gradients over the steps."""

from typing import Any

from keras import ops

from kmtl._checks import near, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.by_gradients.base import RememberingBalancer, lengths
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax

PROJECTIONS = ("simplex", "softmax")


def onto_simplex(values: Tensor, present: Tensor) -> Tensor:
    """Point of the simplex over the tasks present that is nearest to `values`; 0 where a task sits out.

    >>> onto_simplex(ops.array([1.0, 0.5, 7.0]), ops.array([True, True, False])).numpy().tolist()
    [0.75, 0.25, 0.0]
    """
    places = ops.arange(1, values.shape[0] + 1, dtype="float32")
    values = ops.where(present, values, -float("inf"))
    # From the largest down, which is put at 0: beside large values the 1 would be lost.
    values = values - ops.where(ops.any(present), ops.max(values), 0.0)
    ordered = -ops.sort(-values)
    there = ops.isfinite(ordered)
    excess = (ops.cumsum(ops.where(there, ordered, 0.0)) - 1.0) / places
    # The excess over 1 rises as long as the next value is above it: the last such place is the level.
    level = ops.max(ops.where(there & (ordered > excess), excess, -float("inf")))
    return ops.where(present, ops.maximum(values - level, 0.0), 0.0)


@register("moco")
class MoCo(RememberingBalancer):
    """Tracks each task's gradient over the steps, and follows the min-norm point of the tracked ones slowly.

        y_k <- y_k - beta_t (y_k - L_k g_k / |g_k|),   beta_t = beta / t ** beta_decay
        w   <- projection of w - gamma_t (Y Y' + rho I) w on the simplex,   gamma_t = gamma / t ** gamma_decay
        d   =  Y' w

    The min-norm point of one batch's gradients is biased by their noise; that of
    the tracked ones is not, in the limit. In re-runs by others it does worse than
    its own paper says: on QM9 -1314 % against -146 % of the plain sum (Lin et al.,
    arXiv 2308.12029). It cannot undo a direction that is stale. The `t` of a task counts the steps in
    which it was there. A loss below 0 would turn its gradient around: it counts
    as a failure. The memory is K times the shared weights.

    Args:
        beta: Share of the new gradient in the tracked one at the first step, in [0, 1].
        beta_decay: Power of the step that it is divided by.
        gamma: Step size of the weights at the first step.
        gamma_decay: Power of the step that it is divided by.
        rho: Pull of the weights to be equal.
        projection: `"simplex"`, the nearest point, as in the paper; `"softmax"`, as in
            LibMTL and the tables made with it: there no weight is above e times another.
        **options: As for `RememberingBalancer`.

    Source: Fernando et al., "Mitigating Gradient Bias in Multi-Objective Learning: A Provably
    Convergent Approach", ICLR 2023. The tracked gradients of length `L_k` and the
    step sizes are those of LibMTL, after the authors' code. Departures: the weights
    sum to K by default; lengths are divided by without an added 1e-8; heads get their own gradient.

    >>> balancer = MoCo(scale="paper", beta_decay=0.0)
    >>> gradients = ops.array([[2.0, 0.0], [0.0, 4.0]])
    >>> ops.convert_to_numpy(balancer.combine(gradients, losses=ops.ones((2,)))).tolist()
    [0.25, 0.25]
    """

    def __init__(
        self,
        *,
        beta: float = 0.5,
        beta_decay: float = 0.5,
        gamma: float = 0.1,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        projection: str = "simplex",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.beta = non_negative("MoCo", "beta", beta)
        require(self.beta <= 1, "MoCo", "beta", "must be at most 1", beta)
        self.beta_decay = non_negative("MoCo", "beta_decay", beta_decay)
        self.gamma = non_negative("MoCo", "gamma", gamma)
        self.gamma_decay = non_negative("MoCo", "gamma_decay", gamma_decay)
        self.rho = non_negative("MoCo", "rho", rho)
        fix = near(str(projection), PROJECTIONS)
        rule = "must be 'simplex' or 'softmax'"
        require(projection in PROJECTIONS, "MoCo", "projection", rule, projection, fix)
        self.projection = projection

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the tracked gradients and the weights, which start equal."""
        super().build(input_shape)
        count = input_shape[0]
        self.shares = self.state((count,), "ones", "shares")

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The tracked gradients and their weights, both moved on."""
        present, losses = signals.present, signals.needed_losses(self)
        ages = self.grow(present)
        aims = gradients * (losses / lengths(gradients, present))[:, None]
        pace = self.beta / ops.power(ages, self.beta_decay)
        tracked = self.memory + pace[:, None] * (aims - self.memory)
        sound = self.remember(tracked, lengths(tracked, present), present & (losses >= 0))
        weights = self.next_weights(self.gamma / ops.power(ages, self.gamma_decay), sound)
        return self.memory, ops.where(sound, weights, float("nan"))

    def next_weights(self, pace: Tensor, present: Tensor) -> Tensor:
        """Weights `(K,)` after a step of the tasks present, which share what they shared before."""
        shares = ops.where(present, self.shares, 0.0)
        total = ops.sum(shares)
        weights = shares / ops.where(total > 0, total, 1.0)
        rows = ops.where(present[:, None], self.memory, 0.0)
        slope = ops.matmul(rows, ops.matmul(ops.transpose(rows), weights[:, None]))[:, 0] + self.rho * weights
        onto = onto_simplex if self.projection == "simplex" else masked_softmax
        moved = onto(weights - pace * slope, present)
        # Of tasks that had nothing, each takes what it had at first.
        number = ops.sum(ops.cast(present, "float32"))
        self.move(self.shares, moved * ops.where(total > 0, total, number), present & ops.isfinite(moved))
        return moved

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        paces = {"beta": self.beta, "beta_decay": self.beta_decay, "gamma": self.gamma, "gamma_decay": self.gamma_decay}
        return {**super().get_config(), **paces, "rho": self.rho, "projection": self.projection}
