"""What the tasks' gradients are like, measured on some batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kmtl._interrupts import hold_interrupts
from kmtl.gradients.backward import Backward, Cut
from kmtl.gradients.vectors import gramian


class Gramians(NamedTuple):
    """What some batches told of the tasks.

    Attributes:
        names: The tasks, in order.
        losses: Loss of each task in each batch, under its static weight, `(N, K)`.
        present: Whether the batch had a label of the task, `(N, K)`.
        grams: Inner products of the gradients of the shared weights, `(N, K, K)`.
    """

    names: list[str]
    losses: Any
    present: Any
    grams: Any


def measure_gramians(
    forward: Callable[..., Any],
    cut: Callable[[], Cut | None],
    shared: Sequence[Any],
    names: Sequence[str],
    batches: Iterable[Any],
) -> Gramians:
    """Takes losses and Gramians, one batch at a time, and leaves the model as it is.

    Args:
        forward: Of `(x, y, sample_weight)`: the losses and which tasks are present, `(K,)` each.
        cut: Where the last forward pass cut the model, if it did.
        shared: The variables that tasks share.
        names: The tasks.
        batches: `(x, y, sample_weight)` each.
    """

    @tf.function(reduce_retracing=True)
    def look(batch: Any) -> tuple[Any, Any, Any]:
        with hold_interrupts():
            with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
                losses, present = forward(*batch)
                parts = tf.unstack(losses)
            rows = Backward(tape, parts, None, shared, shared, cut()).rows()
            return losses, present, gramian(rows)

    found = [tuple(value.numpy() for value in look(batch)) for batch in batches]
    losses, present, grams = (np.stack(values) for values in zip(*found, strict=True))
    return Gramians(list(names), losses, present, grams)


def first_batches(x: Any, y: Any, sample_weight: Any, size: int, number: int) -> Iterator[Any]:
    """The first batches of arrays or of a stream, each `(x, y, sample_weight)`; weights may be an empty dict."""
    if y is not None:
        x = tf.data.Dataset.from_tensor_slices((x, y, sample_weight or {})).batch(size)
    stream = (x[place] for place in range(len(x))) if isinstance(x, keras.utils.PyDataset) else iter(x)
    for batch in islice(stream, number):
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        yield tuple({} if part is None else tf.nest.map_structure(tf.convert_to_tensor, part) for part in parts)
