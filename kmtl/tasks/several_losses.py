"""Several losses of one task: each is logged, and their weighted sum is the task's loss."""

from collections.abc import Mapping
from typing import Any

import keras


class SeveralLosses:
    """The losses of one task, by name, and what each of them weighs.

        loss = sum_i w_i mean_n l_i(y_n, p_n)

    The means are over the same labels: those that every one of the losses can be taken of.

    Args:
        losses: A Keras loss (name, object or function) each.
        weights: What each weighs; one left out weighs 1.

    >>> both = SeveralLosses({"absolute": "mae", "squared": "mse"}, {"squared": 0.5})
    >>> both.weights
    {'absolute': 1.0, 'squared': 0.5}
    """

    def __init__(self, losses: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> None:
        self.losses = {name: keras.losses.get(loss) for name, loss in losses.items()}
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in losses}

    def weighed(self, weights: Mapping[str, float]) -> "SeveralLosses":
        """The same losses under other weights; one left out weighs 1."""
        return SeveralLosses(self.losses, weights)
