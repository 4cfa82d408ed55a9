"""Per-task gradients of the shared weights, and what balancers make of them."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def sum_over_replicas(value: Any) -> Any:
    """Sums a tensor over all replicas; without a strategy it is returned as it is."""
    context = tf.distribute.get_replica_context()
    if context is None or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gradients_of(tape: tf.GradientTape, target: Any, variables: Sequence[Any]) -> list[Any]:
    """Gradients of a scalar, dense, zero where it does not depend on a variable.

    Args:
        tape: Persistent if it is asked more than once.
        target: A scalar.
        variables: Keras variables.

    Returns:
        One tensor a variable, of its shape.
    """
    # Keras variables are not tf.Variables: asked for zeros, the tape fails on them.
    values = [variable.value for variable in variables]
    return [
        tf.zeros_like(value) if gradient is None else tf.convert_to_tensor(gradient)
        for gradient, value in zip(tape.gradient(target, values), values, strict=True)
    ]


def flat(gradients: Sequence[Any]) -> Any:
    """Joins gradients into one float32 vector."""
    return tf.concat([tf.reshape(tf.cast(gradient, tf.float32), (-1,)) for gradient in gradients], axis=0)


def unflat(vector: Any, like: Sequence[Any]) -> list[Any]:
    """Cuts a vector into tensors of the shapes and dtypes of `like`."""
    pieces = tf.split(vector, [tf.size(tensor) for tensor in like])
    return [
        tf.cast(tf.reshape(piece, tf.shape(tensor)), tensor.dtype) for piece, tensor in zip(pieces, like, strict=True)
    ]


def gramian(rows: Sequence[Sequence[Any]]) -> Any:
    """Inner products of the tasks' gradients, `(K, K)`, float32, tensor by tensor so that no K x P copy is made.

    Args:
        rows: One list of gradients a task, all of the same shapes.
    """
    total = tf.zeros((len(rows), len(rows)))
    for column in zip(*rows, strict=True):
        stacked = tf.stack([tf.reshape(tf.cast(tensor, tf.float32), (-1,)) for tensor in column])
        total += tf.matmul(stacked, stacked, transpose_b=True)
    return total


def weighted_sum(rows: Sequence[Sequence[Any]], weights: Any) -> list[Any]:
    """Sums the tasks' gradients under weights `(K,)`, tensor by tensor."""
    return [
        tf.add_n([tensor * tf.cast(weights[place], tensor.dtype) for place, tensor in enumerate(column)])
        for column in zip(*rows, strict=True)
    ]


def added(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Adds two lists of gradients, tensor by tensor."""
    return [one + other for one, other in zip(left, right, strict=True)]


def shared_among(variables: Sequence[Any], by_task: Sequence[Sequence[Any]], own: Sequence[Any]) -> list[Any]:
    """Lists the variables that more than one task's output depends on.

    Args:
        variables: All trainable variables.
        by_task: Those behind each task's output.
        own: Variables whose slices belong to one task each, as a fused head's kernel.
    """
    counts: dict[int, int] = {}
    for found in by_task:
        for variable in found:
            counts[id(variable)] = counts.get(id(variable), 0) + 1
    sliced = {id(variable) for variable in own}
    return [item for item in variables if counts.get(id(item), 0) > 1 and id(item) not in sliced]


def balanced(
    tape: tf.GradientTape,
    parts: Sequence[Any],
    target: Any,
    penalty: Any,
    variables: tuple[Sequence[Any], Sequence[Any]],
    balancer: Any,
    *,
    scale: Any,
    present: Any,
) -> tuple[list[Any], Any]:
    """Gradients of every variable, those of the shared ones balanced.

    Each head gets its own task's gradient; penalties are never balanced.

    Args:
        tape: A persistent tape that saw the rest.
        parts: This replica's part of each task's weighted loss, scaled.
        target: Their sum and the penalties, scaled.
        penalty: This replica's part of the penalties, scaled.
        variables: All trainable variables, and those that are shared.
        balancer: One that needs `"gram"` or `"gradients"`.
        scale: What the optimizer's loss scaling multiplied on.
        present: Which tasks have a label in the global batch, `(K,)`.

    Returns:
        One gradient a variable, and the balancer's weights `(K,)`.
    """
    every, shared = variables
    rows = [gradients_of(tape, part, shared) for part in parts]
    direction, weights = _direction(rows, balancer, scale, present)
    direction = added(direction, gradients_of(tape, penalty, shared))
    updates = {id(variable): gradient for variable, gradient in zip(shared, direction, strict=True)}
    own = [variable for variable in every if id(variable) not in updates]
    values = tape.gradient(target, [variable.value for variable in own])
    updates.update({id(variable): gradient for variable, gradient in zip(own, values, strict=True)})
    return [updates[id(variable)] for variable in every], weights


def _direction(rows: Sequence[Sequence[Any]], balancer: Any, scale: Any, present: Any) -> tuple[list[Any], Any]:
    """This replica's part of the balanced direction, and the weights it stands for."""
    if not rows[0]:
        # A lone task shares nothing.
        return [], tf.cast(present, tf.float32)
    reduced = [[sum_over_replicas(gradient) for gradient in row] for row in rows]
    if balancer.needs == "gram":
        weights = balancer.weigh(gram=gramian(reduced) / tf.square(scale), present=present)
        return weighted_sum(rows, weights), weights
    matrix = tf.stack([flat(row) for row in reduced]) / scale
    # The optimizer adds the replicas' parts up; this direction is already the whole.
    vector = balancer.combine(matrix, present=present) * scale / tf.distribute.get_strategy().num_replicas_in_sync
    return unflat(vector, rows[0]), tf.cast(present, tf.float32)
