"""Loss weights that make the losses of all tasks alike."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def alike(losses: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Returns loss weights that divide each task's loss by its size, and sum to the number of tasks.

        s_k = K w_k / L_k / sum_j (w_j / L_j)

    Args:
        losses: Size of each task's loss; one that is not finite, as of a task without labels, or 0 counts as 1.
        weights: What multiplies them besides.

    >>> alike({"digit": 2.0, "angle": 0.5}, {"digit": 1.0, "angle": 1.0})
    {'digit': 0.4, 'angle': 1.6}
    """
    sizes = {name: loss if np.isfinite(loss) and loss > 0 else 1.0 for name, loss in losses.items()}
    raw = {name: weights[name] / size for name, size in sizes.items()}
    total = sum(raw.values()) or 1.0
    return {name: len(raw) * value / total for name, value in raw.items()}


class LossScales(keras.callbacks.Callback):
    """Divides each task's loss by its size.

    Args:
        data: Batches to measure the losses on, without weights.
        sizes: The sizes, by task; None measures them before the training.
        epochs: How many epochs the scales follow the losses of the validation; then they stand still.

    Attributes:
        scales: The loss weights now.
    """

    def __init__(self, data: Any, sizes: Mapping[str, float] | None = None, *, epochs: int = 0) -> None:
        super().__init__()
        self.data = data
        self.sizes = sizes
        self.epochs = epochs
        self.scales: dict[str, float] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes the sizes given, or the losses of the untrained model."""
        del logs
        self.given = {name: self.model.loss_weights[name] for name in self.model.tasks}
        given = {f"{name}_loss": size for name, size in (self.sizes or {}).items()}
        self._rescale(given or self.model.evaluate(self.data, verbose=0, return_dict=True))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the losses of the epoch's validation, while the scales still follow."""
        if epoch < self.epochs:
            found = {key.removeprefix("val_"): value for key, value in (logs or {}).items() if key.startswith("val_")}
            self._rescale(found)

    def _rescale(self, logs: Mapping[str, float]) -> None:
        """Sets the loss weights."""
        self.scales = alike({name: logs[f"{name}_loss"] for name in self.given}, self.given)
        self.model.set_loss_weights(self.scales)
