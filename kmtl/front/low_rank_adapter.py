"""A layer beside a dense or convolutional one that bends its weights by a preference among many tasks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl.sharing.low_rank import LowRankLayer, form_beside


@keras.saving.register_keras_serializable(package="kmtl")
class LowRankAdapter(LowRankLayer):
    r"""Adds to a linear layer what a preference takes from one low-rank change a task.

        W(r) = W + 1/q sum_k r_k A_k B_k

    with `A_k` of the layer's own form but `q` outputs, and `B_k` from these to its outputs. `B` starts at 0, so that
    the sum starts as the layer itself. For one preference it is a change of the kernel: see `kmtl.front.folded`.

    Source: Dimitriadis, Frossard and Fleuret, "Pareto Low-Rank Adapters: Efficient Multi-Task Learning with
    Preferences", 2024, which draws one preference a batch; here each example has its own, and their factor `alpha` is
    1. For a convolution their `A` and `B` both have a part of the kernel's extent; here `A` has all of it.

    Shapes: `[the layer's input, (batch, tasks)]` in; the layer's output out.

    Args:
        outputs: Channels of the layer's output.
        **options: As of `kmtl.sharing.low_rank.LowRankLayer`: `rank` (`q`), `kernel_size`, `strides`, `padding`,
            `dilation_rate`.

    >>> adapter = LowRankAdapter(5, rank=2, kernel_size=(3, 3), padding="same")
    >>> adapter([ops.ones((2, 8, 8, 1)), ops.ones((2, 6)) / 6]).shape
    TensorShape([2, 8, 8, 5])
    """

    def __init__(self, outputs: int, **options: Any) -> None:
        super().__init__(outputs, **options)

    def build(self, input_shape: Any) -> None:
        """Makes the factors of all tasks, side by side."""
        features, preference = input_shape
        self.tasks = preference[-1]
        shape = (*self.kernel_size, features[-1], self.tasks * self.rank)
        self.down = self.add_weight(shape=shape, initializer="he_uniform", name="down")
        self.up = self.add_weight(shape=(shape[-1], self.outputs), initializer="zeros", name="up")

    def call(self, inputs: Any) -> Any:
        """Computes the change of the layer's output."""
        features, preference = inputs
        thin = self.thinned(features, self.down)
        shares = ops.repeat(ops.cast(preference, thin.dtype), self.rank, axis=-1) / self.rank
        shape = (-1, *(1 for _ in thin.shape[1:-1]), shares.shape[-1])
        return ops.matmul(thin * ops.reshape(shares, shape), ops.cast(self.up, thin.dtype))

    def change(self, preference: Any) -> Any:
        """Returns the change of the layer's kernel for one preference, `(tasks,)`, as a NumPy array."""
        shares = np.repeat(np.asarray(preference, "float64"), self.rank) / self.rank
        return np.asarray(self.down, "float64") * shares @ np.asarray(self.up, "float64")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's own output shape."""
        return self.shape_of(input_shape[0])


def beside(layer: Any, rank: int) -> LowRankAdapter | None:
    """Returns an adapter for a layer; None if it has no kernel that one can change before its activation.

    Args:
        layer: Any layer.
        rank: `q`.
    """
    form = form_beside(layer)
    return None if form is None else LowRankAdapter(**form, rank=rank, name=f"{layer.name}_adapter")
