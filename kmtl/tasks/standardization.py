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

    # Whether the statistics are to be learned from labels; a kind's own layer may be told to keep 0 and 1.
    learns = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the statistics, one an element of the label."""
        shape = (self.elements(input_shape),)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")
        self.learned = self.add_weight(shape=(), initializer="zeros", trainable=False, name="learned")

    def elements(self, input_shape: tuple[int | None, ...]) -> int | None:
        """How many elements a label has: as many as there are inputs, unless a kind's own layer knows better."""
        return input_shape[-1]

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
    def of_labels(self) -> tuple[Any, Any]:
        """What is taken from labels, and what they are divided by then, to be on the scale of the loss."""
        # TensorFlow stacks no Keras variables.
        return self.mean.value, self.scale.value

    @property
    def of_outputs(self) -> tuple[Any, Any]:
        """The same of outputs."""
        return self.of_labels

    @property
    def is_learned(self) -> bool:
        """Whether the statistics come from labels."""
        return bool(self.learned.numpy() > 0)


def standardized(layers: Sequence[Any], *outputs: Any) -> tuple[Any, ...]:
    """Puts outputs on the scale that a loss is taken on.

    Args:
        layers: `Unstandardize` layers of one task, or of alike ones in order.
        *outputs: Tensors in the labels' units, `(batch, [group,] *output_shape)` each.
    """
    shift, factor = (_stack(list(values)) for values in zip(*(layer.of_outputs for layer in layers), strict=True))
    return tuple((output - shift) / factor for output in outputs)


def standardized_labels(layers: Sequence[Any], labels: Any) -> Any:
    """Puts labels on the scale that a loss is taken on.

    Args:
        layers: As of `standardized`.
        labels: In their units, `(batch, [group,] *loss_shape)`.
    """
    shift, factor = (_stack(list(values)) for values in zip(*(layer.of_labels for layer in layers), strict=True))
    return (labels - shift) / factor


def _stack(values: list[Any]) -> Any:
    """Puts the statistics of alike tasks side by side; those of one stay as they are."""
    return values[0] if len(values) == 1 else ops.stack(values)
