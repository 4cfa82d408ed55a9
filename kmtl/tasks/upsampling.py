"""Enlarges maps whose height and width are open until they come."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kmtl")
class BilinearUpSampling(keras.layers.Layer):
    """Enlarges a map by a whole factor, bilinearly, as `UpSampling2D` does; that one needs known sizes in a graph.

    Shapes: `(batch, height, width, channels)` in, `(batch, factor * height, factor * width, channels)` out.

    Args:
        factor: How many times the output is larger.
        **kwargs: Keras layer options.

    >>> BilinearUpSampling(2)(ops.array([[[[0.0], [4.0]]]])).numpy()[0, :, :, 0].tolist()
    [[0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 3.0, 4.0]]
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        """Enlarges the rows, then the columns."""
        return self._enlarge(self._enlarge(inputs, 1), 2)

    def _enlarge(self, values: Any, axis: int) -> Any:
        """Puts `factor` values in place of each one on an axis."""
        head, tail = [slice(None)] * axis, (slice(None),) * (3 - axis)
        before = ops.concatenate([values[(*head, slice(0, 1), *tail)], values[(*head, slice(0, -1), *tail)]], axis=axis)
        after = ops.concatenate(
            [values[(*head, slice(1, None), *tail)], values[(*head, slice(-1, None), *tail)]], axis=axis
        )
        parts = []
        for place in range(self.factor):
            # Of the middle of the new pixel from that of the old one, in old pixels.
            offset = (place + 0.5) / self.factor - 0.5
            parts.append((1 - abs(offset)) * values + abs(offset) * (before if offset < 0 else after))
        shape = list(ops.shape(values))
        shape[axis] *= self.factor
        return ops.reshape(ops.stack(parts, axis=axis + 1), shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Height and width grow by the factor."""
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side * self.factor for side in sides), channels)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="kmtl")
class ResizingLike(keras.layers.Layer):
    """Brings a map to the height and width of another one, bilinearly, as `Resizing` does for known sizes.

    Shapes: `(batch, height, width, channels)` and `(batch, other height, other width, any)` in, `(batch, other height,
    other width, channels)` out.

    >>> ResizingLike()([ops.ones((1, 2, 2, 3)), ops.ones((1, 5, 3, 1))]).shape
    TensorShape([1, 5, 3, 3])
    """

    def call(self, inputs: Any) -> Any:
        """Enlarges the first map."""
        tensor, like = inputs
        sides = ops.shape(like)
        return _stretched(_stretched(tensor, 1, sides[1]), 2, sides[2])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Height and width of the other map."""
        (batch, _, _, channels), like = input_shape
        return (batch, *like[1:3], channels)


def _stretched(values: Any, axis: int, length: Any) -> Any:
    """Interpolates between the pixels on an axis, whose length and the wanted one may both be open."""
    own = ops.shape(values)[axis]
    # Of the middle of each new pixel, in old pixels; beyond the first and the last one it is theirs.
    places = (ops.cast(ops.arange(length), "float32") + 0.5) * (ops.cast(own, "float32") / ops.cast(length, "float32"))
    places = ops.clip(places - 0.5, 0.0, ops.cast(own - 1, "float32"))
    low = ops.floor(places)
    shape = [-1 if one == axis else 1 for one in range(4)]
    share = ops.cast(ops.reshape(places - low, shape), values.dtype)
    low = ops.cast(low, "int32")
    high = ops.minimum(low + 1, own - 1)
    return (1 - share) * ops.take(values, low, axis=axis) + share * ops.take(values, high, axis=axis)
