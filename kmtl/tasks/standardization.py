"""From a standardised value back to the label's own unit."""

from typing import Any

import keras


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

    def learn(self, mean: Any, scale: Any) -> None:
        """Takes the statistics of the training labels, `(units,)` each, in the label's unit."""
        self.mean.assign(mean)
        self.scale.assign(scale)
        self.learned.assign(1.0)

    @property
    def is_learned(self) -> bool:
        """Whether the statistics come from labels."""
        return bool(self.learned.numpy() > 0)
