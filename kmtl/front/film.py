"""A layer that bends features by a preference among tasks."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, require, whole


@keras.saving.register_keras_serializable(package="kmtl")
class FiLM(keras.layers.Layer):
    r"""Scales and shifts each channel by what a preference among tasks says.

        y = (1 + g s(r)) * x + g t(r),    (s, t)(r) = V relu(U (2 r - 1) + b) + c

    `V` and `c` start at 0, so that the layer starts as the identity. The gain `g` makes it learn faster than the
    layers around it: under Adam it is a factor of the learning rate. For one preference it is a scale and a shift,
    which fold into the normalisation before it or the dense layer behind it: see `kmtl.front.fold`.

    Source: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; on preferences
    Dosovitskiy and Djolonga, "You Only Train Once: Loss-Conditional Training of Deep Networks", ICLR 2020, whose net
    has 256 units and sees the logarithm of the weights; this one has 64 and sees the preference itself, which stays
    finite at the edges.

    Shapes: `[(batch, ..., channels), (batch, tasks)]` in; `(batch, ..., channels)` out.

    Args:
        units: Width of the small net's hidden layer.
        axis: The channels' axis.
        gain: `g`.
        **kwargs: Keras layer options.

    >>> layer = FiLM(name="film")
    >>> layer([ops.ones((2, 4, 4, 3)), ops.array([[1.0, 0.0], [0.5, 0.5]])]).shape
    TensorShape([2, 4, 4, 3])
    """

    def __init__(self, units: int = 64, *, axis: int = -1, gain: float = 4.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = whole("FiLM", "units", units, 1)
        self.axis = axis
        require(is_number(gain) and gain > 0, "FiLM", "gain", "must be a positive number", gain)
        self.gain = float(gain)

    def build(self, input_shape: Any) -> None:
        """Makes the small net."""
        features, preference = input_shape
        channels = features[self.axis]
        add = self.add_weight
        self.hidden_kernel = add(shape=(preference[-1], self.units), initializer="glorot_uniform", name="hidden_kernel")
        self.hidden_bias = add(shape=(self.units,), initializer="zeros", name="hidden_bias")
        self.kernel = add(shape=(self.units, 2 * channels), initializer="zeros", name="kernel")
        self.bias = add(shape=(2 * channels,), initializer="zeros", name="bias")

    def coefficients(self, preference: Any) -> tuple[Any, Any]:
        """Returns scale `1 + g s` and shift `g t` for preferences `(batch, tasks)`, each `(batch, channels)`."""
        code = 2.0 * ops.cast(preference, self.compute_dtype) - 1.0
        hidden = ops.relu(ops.matmul(code, self.hidden_kernel) + self.hidden_bias)
        scale, shift = ops.split(self.gain * (ops.matmul(hidden, self.kernel) + self.bias), 2, axis=-1)
        return 1.0 + scale, shift

    def call(self, inputs: Any) -> Any:
        """Bends the features."""
        features, preference = inputs
        rank = len(features.shape)
        place = self.axis % rank
        shape = [-1 if axis == 0 else features.shape[place] if axis == place else 1 for axis in range(rank)]
        scale, shift = (ops.reshape(values, shape) for values in self.coefficients(preference))
        return features * scale + shift

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The features keep their shape."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "units": self.units, "axis": self.axis, "gain": self.gain}
