"""Gradients of outputs by what a layer gave, of each example."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def activation_gradients(
    model: Any, tensor: Any, output: Any, inputs: Any, scores: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """Differentiates scores of an output by what a layer gave, in inference mode.

    Args:
        model: The functional model that both tensors are of.
        tensor: The Keras tensor to differentiate by.
        output: The Keras tensor that scores are made of.
        inputs: A batch of inputs, as the model takes them.
        scores: Makes `(batch, elements)` of the output's value.

    Returns:
        The value of `tensor`, `(batch, ...)`, and the gradient of each element's score by it, arrays in float32.
    """
    part = keras.Model(model.input, [tensor, output])
    given = keras.tree.map_structure(tf.convert_to_tensor, inputs)
    with tf.GradientTape(persistent=True) as tape:
        # What no watched value stands in would not be recorded: a frozen trunk of whole numbers has none of its own.
        for value in [*keras.tree.flatten(given), *(variable.value for variable in part.weights)]:
            if value.dtype.is_floating:
                tape.watch(value)
        seen, found = part(given, training=False)
        sums = tf.unstack(tf.reduce_sum(scores(found), axis=0))
    gradients = [tape.gradient(one, seen, unconnected_gradients="zero") for one in sums]
    return tf.cast(seen, "float32").numpy(), [tf.cast(one, "float32").numpy() for one in gradients]
