"""Balancers that draw their weights."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import near, require
from kmtl._types import Tensor
from kmtl.balancers.base import Balancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax

DISTRIBUTIONS = ("normal", "dirichlet")


@register("rlw")
class RLW(Balancer):
    """Random weights, new in every step: the bar for every method that learns them.

        normal:      w = softmax(z),      z_k ~ N(0, 1)
        dirichlet:   w = e / sum_j e_j,   e_k ~ Exp(1), which is uniform on the simplex

    The mean of every weight is 1 / K. It costs nothing, and on 40 alike tasks it beats most learned weights
    (CelebA, mean change 1.46 % against 4.15 % of equal weights, lower is better); on losses of unlike scales it is
    worse than equal weights (QM9, 222.6 % against 179.8 %; NYUv2, 7.78 % against 5.59 %).

    Args:
        distribution: `"normal"` or `"dirichlet"`.
        seed: Of the draws; None draws one from Keras's global seed.
        **options: As for `Balancer`; with `scale="paper"` the weights sum to 1.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
    TMLR 2022. Departures: by default the weights sum to K; absent tasks leave the softmax.

    >>> weights = RLW(seed=0).weigh(losses=ops.array([1.0, 3.0, 2.0]))
    >>> round(float(ops.sum(weights)), 5)
    3.0
    """

    def __init__(self, *, distribution: str = "normal", seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        known = distribution in DISTRIBUTIONS
        fix = near(str(distribution), DISTRIBUTIONS)
        require(known, "RLW", "distribution", f"must be of {DISTRIBUTIONS}", distribution, fix)
        self.distribution = distribution
        self.seed = seed
        self.seeds = keras.random.SeedGenerator(seed)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of one draw."""
        shape = (signals.losses.shape[0],)
        if self.distribution == "normal":
            return masked_softmax(keras.random.normal(shape, seed=self.seeds), signals.present)
        # Exponential draws, by their logarithms; a uniform draw of 0 or 1 would make an infinite one.
        uniform = keras.random.uniform(shape, minval=1e-6, maxval=1.0 - 1e-6, seed=self.seeds)
        return masked_softmax(ops.log(-ops.log(uniform)), signals.present)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "distribution": self.distribution, "seed": self.seed}
