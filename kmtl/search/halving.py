"""Successive halving: many candidates for few epochs, the best of them for more."""

import math
from typing import Any

from kmtl.search import _keras_tuner_private

FACTOR = 3
CANDIDATES = 20


def rungs(candidates: int, epochs: int, factor: int = FACTOR) -> list[tuple[int, int]]:
    """Returns how many candidates are trained up to which epoch, rung by rung.

    The last rung trains for all epochs, the one before for a third of them, and so on down to one epoch at least; each
    keeps the best third of the one before, rounded up. There are no more rungs than leave a choice to make.

    Args:
        candidates: How many begin.
        epochs: Of the last rung.
        factor: What both change by.

    >>> rungs(20, 9)
    [(20, 1), (7, 3), (3, 9)]
    >>> rungs(4, 2)
    [(4, 2)]
    """
    count = 1
    while epochs // factor**count >= 1 and math.ceil(candidates / factor**count) < math.ceil(
        candidates / factor ** (count - 1)
    ):
        count += 1
    return [(math.ceil(candidates / factor**rung), epochs // factor ** (count - 1 - rung)) for rung in range(count)]


def cost(candidates: int, epochs: int) -> int:
    """Returns the epochs that a halving trains in all; what is promoted goes on where it stood.

    >>> cost(20, 9)  # 20 + 7 * 2 + 3 * 6
    52
    """
    before = 0
    total = 0
    for count, until in rungs(candidates, epochs):
        total += count * (until - before)
        before = until
    return total


def make_halving(keras_tuner: Any) -> Any:
    """Returns the tuner's class, whose constructor takes `candidates` and `max_epochs` beside what all tuners take.

    Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
    2016. It is one bracket of KerasTuner's Hyperband, with sizes of its own.

    Args:
        keras_tuner: The package.
    """

    class Halving(keras_tuner.Hyperband):
        def __init__(self, hypermodel: Any, *, objective: Any, candidates: int, max_epochs: int, **kwargs: Any) -> None:
            own = {key: kwargs.pop(key) for key in ("seed", "max_consecutive_failed_trials") if key in kwargs}
            steps = rungs(candidates, max_epochs)
            oracle = _keras_tuner_private.halving_oracle(keras_tuner, objective, steps, factor=FACTOR, **own)
            keras_tuner.Tuner.__init__(self, oracle=oracle, hypermodel=hypermodel, **kwargs)

    return Halving
