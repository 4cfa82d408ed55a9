"""What a step along one task's gradient would do to the losses of all tasks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._interrupts import hold_interrupts
from kmtl._types import Tensor
from kmtl.gradients.backward import Backward, Cut


def lookahead_function(forward: Callable[..., Any], cut: Callable[[], Cut | None], shared: Sequence[Any]) -> Any:
    """Makes the function of a batch and a rate that tells the affinities of its tasks; nothing of the model moves.

        Z_ij = [L_j(theta) - L_j(theta - rate g_i)] / |L_j(theta)|

    with theta the shared weights and g_i the gradient of L_i. Every forward pass is one of training: batch
    normalisation takes the batch's statistics, dropout draws the same units each time.

    Args:
        forward: Of `(x, y, sample_weight)`: the losses and which tasks are present, `(K,)` each.
        cut: Where the last forward pass cut the model, if it did.
        shared: The variables that tasks share.

    Returns:
        A function of a batch and a rate: `(K, K)`, NaN where a task is absent or its loss is 0.
    """

    @tf.function(reduce_retracing=True)
    def look(batch: Any, rate: Any) -> Tensor:
        with hold_interrupts():
            with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
                losses, present = forward(*batch)
                parts = tf.unstack(losses)
            rows = Backward(tape, parts, None, shared, shared, cut()).rows()
            moved = [_moved_losses(forward, batch, shared, row, rate) for row in rows]
        here = present & (losses != 0)
        found = (losses - tf.stack(moved)) / tf.where(here, tf.abs(losses), 1.0)
        return tf.where(here[:, None] & here[None, :], found, float("nan"))

    return look


def _moved_losses(forward: Any, batch: Any, shared: Sequence[Any], gradient: Sequence[Any], rate: Any) -> Tensor:
    """The losses behind a step of the shared weights alone, `(K,)`."""
    steps = [
        (variable, variable.value - tf.cast(rate, part.dtype) * part)
        for variable, part in zip(shared, gradient, strict=True)
    ]
    with keras.StatelessScope(state_mapping=steps):
        losses, _ = forward(*batch)
    return losses
