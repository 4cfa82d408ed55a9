"""Gradients of single examples, made short by a random projection."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._interrupts import hold_interrupts
from kmtl.gradients.vectors import flatten, gradients_of


def sketch_function(forward: Callable[..., Any], shared: Sequence[Any], width: int, seed: int) -> Any:
    """Makes the function of one example that tells each task's loss and a sketch of its gradient.

    Each weight has a random sign and one of `width` places, where the signed gradient is added: inner products of
    sketches are those of the gradients in the mean, with a variance of at most 2/width of the lengths' squares
    (Charikar, Chen and Farach-Colton, "Finding Frequent Items in Data Streams", ICALP 2002). No matrix is held.

    Args:
        forward: Of `(x, y, sample_weight)`: the sums of losses and the counts of labels, `(K,)` each.
        shared: The variables that tasks share.
        width: Numbers in a sketch.
        seed: Of signs and places.

    Returns:
        A function of a batch: mean losses `(K,)`, NaN where a label is missing, and sketches `(K, width)`.
    """
    random = np.random.default_rng(seed)
    size = int(sum(np.prod(variable.shape) for variable in shared))
    places = tf.constant(random.integers(0, width, size), "int32")
    signs = tf.constant(random.integers(0, 2, size) * 2 - 1, "float32")

    @tf.function(reduce_retracing=True)
    def look(batch: Any) -> tuple[Any, Any]:
        with hold_interrupts(), tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            sums, counts = forward(*batch)
            means = tf.where(counts > 0, sums, 0.0) / tf.maximum(counts, 1.0)
            parts = tf.unstack(means)
        rows = [signs * flatten(gradients_of(tape, part, shared)) for part in parts]
        short = [tf.math.unsorted_segment_sum(row, places, width) for row in rows]
        return tf.where(counts > 0, means, float("nan")), tf.stack(short)

    return look
