"""From a standardised value back to the label's own unit."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kmtl")
class Unstandardize(keras.layers.Layer):
    """Turns standardised predictions into the label's unit: `y = x * scale + mean`.

    The statistics are weights that no optimizer touches, so they are saved and
    exported with the model. Until `learn` is called they are 0 and 1.

    >>> layer = Unstandardize()
    >>> layer.build((None, 1))
    >>> layer.learn([40.0], [10.0])
    >>> float(layer(keras.ops.array([[1.5]]))[0, 0])
    55.0
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the statistics, one an element."""
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")
        self.learned = self.add_weight(shape=(), initializer="zeros", trainable=False, name="learned")

    def call(self, inputs: Any) -> Any:
        """Applies scale and mean."""
        return inputs * self.scale + self.mean

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape

    def values_to_learn(self, statistics: Any) -> Any:
        """What `learn` takes of the statistics of a pass over the labels: mean and scale, `(2, units)`."""
        return np.stack([statistics.mean, statistics.scale])

    def learn(self, mean: Any, scale: Any) -> None:
        """Takes the statistics of the training labels, `(units,)` each, in the label's unit."""
        self.mean.assign(mean)
        self.scale.assign(scale)
        self.learned.assign(1.0)

    @property
    def is_learned(self) -> bool:
        """Whether the statistics come from labels."""
        return bool(self.learned.numpy() > 0)


def standardized(layers: Sequence[Any], *values: Any) -> tuple[Any, ...]:
    """Puts labels or predictions on the scale that a loss is taken on.

    Args:
        layers: `Unstandardize` layers of one task, or of alike ones in order.
        *values: Tensors in the labels' units, `(batch, [group,] units)` each.
    """
    mean, scale = _stack([layer.mean for layer in layers]), _stack([layer.scale for layer in layers])
    return tuple((value - mean) / scale for value in values)


def _stack(variables: list[Any]) -> Any:
    """Puts the variables of alike tasks side by side; one stays as it is."""
    # TensorFlow stacks no Keras variables.
    values = [variable.value for variable in variables]
    return values[0] if len(values) == 1 else ops.stack(values)
