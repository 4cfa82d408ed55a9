"""Numbers of a table, of which some may be missing."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kmtl.trunks.cells import present

# Standard deviations from the mean up to which a number counts as it is.
_LINEAR = 3.0


@keras.saving.register_keras_serializable(package="kmtl")
class StandardizedNumbers(keras.layers.Layer):
    """Standardises columns of numbers; one that is missing becomes 0, the mean, and its column's flag 1.

    `z = (x - mean) / scale`, and beyond three it grows as a logarithm, `3 + log(1 + |z| - 3)` with its sign: an amount
    of a hundred standard deviations, as incomes have them, neither drowns the others nor loses its order, and is finite
    in float16. Missing is NaN, or float32's lowest number, which every way into a model takes. Computed in float32.

    Shapes: a list of `(batch,)`; `(batch, columns + flags)` out, a flag a column of which `gaps` says so.

    Args:
        means: A number a column.
        scales: A number above 0 a column.
        gaps: For each column whether it has a flag: a flag that training never saw set would mean nothing.
        **kwargs: Keras layer options.

    >>> layer = StandardizedNumbers(means=[10.0, 0.0], scales=[2.0, 1.0], gaps=[True, False])
    >>> layer([ops.array([14.0, float("nan")]), ops.array([1.0, 100.0])]).numpy().round().tolist()
    [[2.0, 1.0, 0.0], [0.0, 8.0, 1.0]]
    """

    def __init__(self, means: Sequence[float], scales: Sequence[float], gaps: Sequence[bool], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.means, self.scales, self.gaps = list(means), list(scales), list(gaps)

    def call(self, inputs: Any) -> Any:
        """Standardises."""
        numbers = ops.stack(inputs, axis=-1)
        missing = ops.logical_not(present(numbers, "number"))
        scaled = (ops.where(missing, ops.array(self.means), numbers) - ops.array(self.means)) / ops.array(self.scales)
        size = ops.abs(scaled)
        beyond = ops.sign(scaled) * (_LINEAR + ops.log(1.0 + ops.maximum(size - _LINEAR, 0.0)))
        scaled = ops.where(size > _LINEAR, beyond, scaled)
        flagged = [place for place, has_gaps in enumerate(self.gaps) if has_gaps]
        if not flagged:
            return scaled
        flags = ops.cast(ops.take(missing, flagged, axis=-1), scaled.dtype)
        return ops.concatenate([scaled, flags], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """A number a column, and a flag where one is."""
        return (*input_shape[0], len(self.means) + sum(self.gaps))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "means": self.means, "scales": self.scales, "gaps": self.gaps}
