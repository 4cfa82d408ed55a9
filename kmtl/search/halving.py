"""Successive halving: many candidates for few epochs, the best of them for more."""

import math
from typing import Any

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

    class HalvingOracle(keras_tuner.oracles.HyperbandOracle):
        def __init__(self, objective: Any, candidates: int, max_epochs: int, **kwargs: Any) -> None:
            self.rungs = rungs(candidates, max_epochs)
            super().__init__(objective, max_epochs=max_epochs, factor=FACTOR, **kwargs)
            # No other bracket follows.
            self._current_bracket = 0

        def _get_num_brackets(self) -> int:
            return len(self.rungs)

        def _get_size(self, _: int, round_num: int) -> int:
            return self.rungs[round_num][0]

        def _get_epochs(self, _: int, round_num: int) -> int:
            return self.rungs[round_num][1]

    class Halving(keras_tuner.Hyperband):
        def __init__(self, hypermodel: Any, *, objective: Any, candidates: int, max_epochs: int, **kwargs: Any) -> None:
            own = {key: kwargs.pop(key) for key in ("seed", "max_consecutive_failed_trials") if key in kwargs}
            oracle = HalvingOracle(objective, candidates, max_epochs, **own)
            keras_tuner.Tuner.__init__(self, oracle=oracle, hypermodel=hypermodel, **kwargs)

    return Halving
