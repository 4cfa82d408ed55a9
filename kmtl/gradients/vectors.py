"""Gradients as lists of tensors: joined, multiplied, summed."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kmtl._types import Tensor


def gradients_of(tape: tf.GradientTape, target: Any, variables: Sequence[Any], start: Tensor = None) -> list[Tensor]:
    """Gradients of a tensor, dense, zero where it does not depend on a variable.

    Args:
        tape: Persistent if it is asked more than once.
        target: A scalar, or a tensor or list of tensors with a `start`.
        variables: Keras variables.
        start: What each element of the target counts; None is 1.

    Returns:
        One tensor a variable, of its shape.
    """
    # Keras variables are not tf.Variables: asked for zeros, the tape fails on them.
    values = [variable.value for variable in variables]
    return [
        tf.zeros_like(value) if gradient is None else tf.convert_to_tensor(gradient)
        for gradient, value in zip(tape.gradient(target, values, output_gradients=start), values, strict=True)
    ]


def flatten(gradients: Sequence[Any]) -> Tensor:
    """Joins gradients into one float32 vector."""
    return tf.concat([tf.reshape(tf.cast(gradient, tf.float32), (-1,)) for gradient in gradients], axis=0)


def unflatten(vector: Tensor, like: Sequence[Any]) -> list[Tensor]:
    """Cuts a vector into tensors of the shapes and dtypes of `like`."""
    pieces = tf.split(vector, [tf.size(tensor) for tensor in like])
    return [
        tf.cast(tf.reshape(piece, tf.shape(tensor)), tensor.dtype) for piece, tensor in zip(pieces, like, strict=True)
    ]


def gramian(rows: Sequence[Sequence[Any]]) -> Tensor:
    """Inner products of the tasks' gradients, `(K, K)`, float32, tensor by tensor so that no K x P copy is made.

    Args:
        rows: One list of gradients a task, all of the same shapes.
    """
    total = tf.zeros((len(rows), len(rows)))
    for column in zip(*rows, strict=True):
        stacked = tf.stack([tf.reshape(tf.cast(tensor, tf.float32), (-1,)) for tensor in column])
        total += tf.matmul(stacked, stacked, transpose_b=True)
    return total


def weighted_sum(rows: Sequence[Sequence[Any]], weights: Tensor) -> list[Tensor]:
    """Sums the tasks' gradients under weights `(K,)`, tensor by tensor; one of weight 0 may be NaN."""
    return [
        tf.add_n(
            [
                tf.math.multiply_no_nan(tensor, tf.cast(weights[place], tensor.dtype))
                for place, tensor in enumerate(column)
            ]
        )
        for column in zip(*rows, strict=True)
    ]


def all_finite(gradients: Sequence[Any]) -> Tensor:
    """Whether every element is finite, a boolean scalar; gradients that are None count as finite."""
    # A sum is not finite if an element is not, and costs less than a look at each.
    sums = [tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in gradients if gradient is not None]
    return tf.reduce_all(tf.math.is_finite(tf.stack(sums))) if sums else tf.constant(True)


def zero_where_not_finite(gradients: Sequence[Any]) -> list[Tensor]:
    """The same gradients, those that are not finite replaced by zeros, whole tensors at a time."""
    return [
        gradient if gradient is None else tf.where(all_finite([gradient]), gradient, tf.zeros_like(gradient))
        for gradient in gradients
    ]
