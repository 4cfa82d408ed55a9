"""A shared hidden layer over several inputs, of which some may be missing."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import whole
from kmtl.sharing.branches import (
    branch_names,
    checked_shapes,
    either_mask,
    in_order,
    merged_sides,
    presence,
    without_missing,
)


@keras.saving.register_keras_serializable(package="kmtl")
class ConceptExpansion(keras.layers.Layer):
    r"""One hidden layer over several inputs, with a kernel for each, so that an input may be missing in a row.

        c = act(sum over the inputs that are there of W_i x_i + b)

    With all inputs there it is one dense layer on the inputs side by side, whose kernel is that of all `W_i` on top
    of each other, and its kernels are drawn as that one's would be. Tasks read `c` by layers of their own. The name
    is of the articles that it comes from; in the literature it is a hard-shared hidden layer, and with labels of its
    own for each unit a concept bottleneck (Koh et al., "Concept Bottleneck Models", ICML 2020).

    Shapes: a list of `(batch, ..., width_i)`, or a dict of them, which counts in the order of its names;
    `(batch, ..., units)` out.

    Args:
        units: Width of the layer.
        activation: Of the layer.
        kernel_regularizer: Of each kernel.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If `units` is out of range, or the inputs do not go together.

    >>> history, time, author = keras.Input((16,)), keras.Input((4,)), keras.Input((8,))
    >>> from kmtl.sharing import present_rows
    >>> inputs = {"history": history, "time": time, "author": author}
    >>> concepts = ConceptExpansion(32)(inputs, present={name: present_rows(one) for name, one in inputs.items()})
    >>> concepts.shape
    (None, 32)
    """

    def __init__(self, units: int, *, activation: Any = "relu", kernel_regularizer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = whole("ConceptExpansion", "units", units, 1)
        self.activation = keras.activations.get(activation)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        """Makes a kernel an input, and the bias."""
        shapes = checked_shapes("ConceptExpansion", input_shape)
        # Glorot's limit of the kernel that they are parts of.
        limit = (6.0 / (sum(shape[-1] or 0 for shape in shapes) + self.units)) ** 0.5
        self.kernels = [
            self.add_weight(
                shape=(shape[-1], self.units),
                initializer=keras.initializers.RandomUniform(-limit, limit),
                regularizer=self.kernel_regularizer,
                name=f"kernel_{name}",
            )
            for name, shape in zip(branch_names(input_shape), shapes, strict=True)
        ]
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs: Any, present: Any = None) -> Any:
        """Computes the layer.

        Args:
            inputs: A list or a dict of tensors.
            present: Bools `(batch,)` for each, in the same form: which rows of it are there, as
                `kmtl.sharing.present_rows` tells; None if all are.
        """
        there = presence("ConceptExpansion", inputs, present)
        total = ops.convert_to_tensor(self.bias)
        for one, kernel in zip(without_missing(in_order(inputs), there), self.kernels, strict=True):
            total = ops.matmul(one, kernel) + total
        return self.activation(total)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of padding, where every input has one."""
        del inputs
        return either_mask(previous_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The sides of the inputs, and the units."""
        return (*merged_sides(in_order(input_shape)), self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
        return {**super().get_config(), **own}
