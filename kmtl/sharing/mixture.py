"""Two outputs of one task joined to one: of a network, and of a predictor that no gradient reaches."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kmtl._checks import require, whole

# A tree that has seen one class in a leaf says 0 of the others; its logarithm must stay finite.
LEAST = 1e-6


class Mixture(keras.layers.Layer):
    """What joins two outputs of a task.

    Shapes: `[features (batch, width), deep (batch, units), classical (batch, units)]` in, `(batch, units)` out.

    Args:
        activation: What an output ends in: `"softmax"` and `"sigmoid"` are probabilities, None any values.
        **kwargs: Keras layer options; outputs are float32 under every policy.
    """

    owner: ClassVar[str] = "Mixture"

    def __init__(self, activation: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        known = (None, "softmax", "sigmoid")
        require(activation in known, self.owner, "activation", f"must be one of {list(known)}", activation)
        self.activation = activation

    def linear(self, outputs: Any) -> Any:
        """Outputs without their activation: log p of a softmax, log p - log(1 - p) of a sigmoid, values as they are."""
        if self.activation is None:
            return outputs
        if self.activation == "softmax":
            return ops.log(ops.clip(outputs, LEAST, 1.0))
        inside = ops.clip(outputs, LEAST, 1.0 - LEAST)
        return ops.log(inside) - ops.log(1.0 - inside)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """That of an output."""
        return tuple(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "activation": self.activation}


@keras.saving.register_keras_serializable(package="kmtl")
class GatedMixture(Mixture):
    r"""Weighs two outputs of a task by a gate that each row sets anew.

        g(x) = sigmoid(MLP([phi(x), f(p_classical)])),    p = g(x) p_deep + (1 - g(x)) p_classical

    with f = log for probabilities (log p - log(1 - p) of a yes-or-no), and the identity for values. A mixture of
    probabilities is one. No gradient is asked of p_classical. The gate starts at 1/2.

    Shapes: `[features (batch, width), deep (batch, units), classical (batch, units)]` in, `(batch, units)` out.

    Args:
        activation: What an output ends in: `"softmax"` and `"sigmoid"` are probabilities, None any values.
        hidden: Units of the gate's hidden layer, which is a ReLU.
        **kwargs: Keras layer options; outputs are float32 under every policy.

    >>> layer = GatedMixture("softmax")
    >>> phi, deep, classical = ops.ones((1, 4)), ops.array([[0.8, 0.2]]), ops.array([[0.4, 0.6]])
    >>> ops.convert_to_numpy(layer([phi, deep, classical])).round(2).tolist()
    [[0.6000000238418579, 0.4000000059604645]]
    """

    owner: ClassVar[str] = "GatedMixture"

    def __init__(self, activation: str | None = None, *, hidden: int = 16, **kwargs: Any) -> None:
        super().__init__(activation, **kwargs)
        self.hidden = whole(self.owner, "hidden", hidden, 1)
        self.first = keras.layers.Dense(self.hidden, "relu", dtype="float32", name="first")
        self.last = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros", dtype="float32", name="last")

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes the gate."""
        self.first.build((None, input_shape[0][-1] + input_shape[2][-1]))
        self.last.build((None, self.hidden))

    def gate(self, features: Any, classical: Any) -> Any:
        """How much of the deep output counts, g in 0..1, `(batch, 1)`."""
        return self.last(self.first(ops.concatenate([features, self.linear(classical)], axis=-1)))

    def call(self, inputs: Sequence[Any]) -> Any:
        """Weighs the two."""
        features, deep, classical = inputs
        share = self.gate(features, classical)
        return share * deep + (1.0 - share) * classical

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "hidden": self.hidden}


@keras.saving.register_keras_serializable(package="kmtl")
class StackedMixture(Mixture):
    r"""Weighs two outputs of a task as a logistic (or linear) regression on both does.

        p = end(a * f(p_deep) + b * f(p_classical) + c)

    with f = log and end = softmax, or f = log p - log(1 - p) and end = sigmoid, or of values nothing of either; a, b
    and c have one number an element. It starts at a = b = 1/2: a normalised geometric mean, of values the plain one.
    (Wolpert, "Stacked Generalization", Neural Networks, 1992.) The features are not read.

    Shapes: `[features (batch, width), deep (batch, units), classical (batch, units)]` in, `(batch, units)` out.

    Args:
        activation: What an output ends in: `"softmax"` and `"sigmoid"` are probabilities, None any values.
        **kwargs: Keras layer options; outputs are float32 under every policy.

    >>> layer = StackedMixture()
    >>> float(layer([ops.ones((1, 4)), ops.array([[2.0]]), ops.array([[3.0]])])[0, 0])
    2.5
    """

    owner: ClassVar[str] = "StackedMixture"

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes a, b and c."""
        shape, half = (input_shape[1][-1],), keras.initializers.Constant(0.5)
        self.of_deep = self.add_weight(shape=shape, initializer=half, name="of_deep")
        self.of_classical = self.add_weight(shape=shape, initializer=half, name="of_classical")
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")

    def call(self, inputs: Sequence[Any]) -> Any:
        """Weighs the two."""
        _, deep, classical = inputs
        sums = self.of_deep * self.linear(deep) + self.of_classical * self.linear(classical) + self.bias
        if self.activation is None:
            return sums
        return ops.softmax(sums, axis=-1) if self.activation == "softmax" else ops.sigmoid(sums)
