"""How the members of a boosted model are joined: votes for classes, a sum of values."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kmtl")
class Vote(keras.layers.Layer):
    """The share of the votes that each class gets: each member votes with its weight for its likeliest class.

        p_k = sum over the members that decide for k of alpha_m / sum of alpha_m

    Shapes: a list of `(batch, units)` in, `(batch, units)` out; with one unit, the probability of yes, the vote is for
    yes above 0.5, and the output is its share.

    Args:
        weights: The weight of each member, above 0.
        **kwargs: Keras layer options.

    >>> layer = Vote([3.0, 1.0])
    >>> layer([ops.array([[0.6, 0.3, 0.1]]), ops.array([[0.1, 0.2, 0.7]])]).numpy().tolist()
    [[0.75, 0.0, 0.25]]
    """

    def __init__(self, weights: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.votes = [float(weight) for weight in weights]

    def call(self, inputs: Any) -> Any:
        """Counts the votes."""
        return sum(
            weight / sum(self.votes) * _decided(output) for weight, output in zip(self.votes, inputs, strict=True)
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """That of one member's output."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "weights": self.votes}


def _decided(output: Any) -> Any:
    """1 for the decided class, 0 for the others; classes that are alike share it."""
    if output.shape[-1] == 1:
        return ops.cast(output > 0.5, "float32")
    # LiteRT has no built-in op for what Keras's argmax does with signed zeros.
    likeliest = ops.cast(output >= ops.max(output, axis=-1, keepdims=True), "float32")
    return likeliest / ops.sum(likeliest, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable(package="kmtl")
class ScaledSum(keras.layers.Layer):
    """A start plus a factor times the sum of several outputs, element by element.

    Shapes: a list of `(batch, units)` in, `(batch, units)` out.

    Args:
        factor: One number a unit.
        start: The same.
        **kwargs: Keras layer options.

    >>> ScaledSum([0.5], [10.0])([ops.array([[2.0]]), ops.array([[4.0]])]).numpy().tolist()
    [[13.0]]
    """

    def __init__(self, factor: Sequence[float], start: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.factor, self.start = [float(one) for one in factor], [float(one) for one in start]

    def call(self, inputs: Any) -> Any:
        """Adds up."""
        return ops.array(self.start, "float32") + ops.array(self.factor, "float32") * sum(inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """That of one output."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "factor": self.factor, "start": self.start}
