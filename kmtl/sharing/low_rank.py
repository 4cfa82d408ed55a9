"""Layers beside a dense or convolutional one that change its output by a product of two thin kernels."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import whole


class LowRankLayer(keras.layers.Layer):
    """What a low-rank change of a linear layer takes from the layer: its form.

    Args:
        outputs: Channels of the layer's output.
        rank: Width between the two thin kernels.
        kernel_size: Of a convolution; `()` stands beside a dense layer.
        strides: Of the convolution.
        padding: Of the convolution.
        dilation_rate: Of the convolution.
        **kwargs: Keras layer options.
    """

    def __init__(
        self,
        outputs: int,
        *,
        rank: int = 4,
        kernel_size: tuple[int, ...] = (),
        strides: Any = 1,
        padding: str = "valid",
        dilation_rate: Any = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.outputs = whole(owner, "outputs", outputs, 1)
        self.rank = whole(owner, "rank", rank, 1)
        self.kernel_size = tuple(kernel_size)
        self.strides, self.padding, self.dilation_rate = strides, padding, dilation_rate

    def thinned(self, features: Any, down: Any) -> Any:
        """Applies a first kernel as the layer applies its own."""
        if not self.kernel_size:
            return ops.matmul(features, down)
        options = {"strides": self.strides, "padding": self.padding, "dilation_rate": self.dilation_rate}
        return ops.conv(features, down, data_format="channels_last", **options)

    def shape_of(self, features: Any) -> Any:
        """The layer's output shape for a shape of its input."""
        if not self.kernel_size:
            return (*features[:-1], self.outputs)
        kernel = keras.KerasTensor((*self.kernel_size, features[-1], self.outputs))
        return tuple(self.thinned(keras.KerasTensor(features), kernel).shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"outputs": self.outputs, "rank": self.rank, "kernel_size": self.kernel_size, "strides": self.strides}
        return {**super().get_config(), **own, "padding": self.padding, "dilation_rate": self.dilation_rate}


@keras.saving.register_keras_serializable(package="kmtl")
class LowRankChange(LowRankLayer):
    r"""Adds a low-rank change of a linear layer: `W' = W + A B`, with `A` of the layer's own form but `rank` outputs.

    `B` starts at 0, so that the sum starts as the layer itself; trained, it stays beside the layer or is added to its
    kernel (`change`).

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, with their factor `alpha / r` at
    1. Of a convolution `A` has all of the kernel's extent.

    Shapes: the layer's input in; the layer's output out.

    Args:
        outputs: Channels of the layer's output.
        **options: As of `LowRankLayer`: `rank`, `kernel_size`, `strides`, `padding`, `dilation_rate`.

    >>> change = LowRankChange(5, rank=2, kernel_size=(3, 3), padding="same")
    >>> change(ops.ones((2, 8, 8, 1))).shape, change.change().shape
    (TensorShape([2, 8, 8, 5]), (3, 3, 1, 5))
    """

    def __init__(self, outputs: int, **options: Any) -> None:
        super().__init__(outputs, **options)

    def build(self, input_shape: Any) -> None:
        """Makes both kernels."""
        shape = (*self.kernel_size, input_shape[-1], self.rank)
        self.down = self.add_weight(shape=shape, initializer="he_uniform", name="down")
        self.up = self.add_weight(shape=(self.rank, self.outputs), initializer="zeros", name="up")

    def call(self, inputs: Any) -> Any:
        """Computes the change of the layer's output."""
        return ops.matmul(self.thinned(inputs, self.down), self.up)

    def change(self) -> Any:
        """Returns the change of the layer's kernel, as a NumPy array."""
        return np.asarray(self.down, "float64") @ np.asarray(self.up, "float64")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's own output shape."""
        return self.shape_of(input_shape)


def form_beside(layer: Any) -> dict[str, Any] | None:
    """Returns what a `LowRankLayer` beside a layer is made with, its rank aside.

    Args:
        layer: Any layer.

    Returns:
        Keyword arguments; None if the layer has no kernel that one can change before its activation.

    >>> form_beside(keras.layers.Dense(3)), form_beside(keras.layers.Dense(3, activation="relu"))
    ({'outputs': 3}, None)
    """
    if getattr(layer, "activation", None) is not keras.activations.linear:
        return None
    if type(layer) is keras.layers.Dense:
        return {"outputs": layer.units}
    plain = isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D) and layer.groups == 1
    if not plain or layer.data_format != "channels_last" or layer.padding not in ("same", "valid"):
        return None
    options = {"kernel_size": layer.kernel_size, "strides": layer.strides, "padding": layer.padding}
    return {"outputs": layer.filters, **options, "dilation_rate": layer.dilation_rate}
