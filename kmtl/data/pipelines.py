"""From rows in memory or on disk to a dataset: order, reading, batches."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals
from kmtl.data.mixing.proportions import is_whole
from kmtl.feeding.order import Order, endless
from kmtl.feeding.resume import register_restart


def check_batches(refusals: Refusals, batch_size: Any, seed: Any, shuffle: Any = False) -> None:
    """Records a batch size, a seed or a wish for an order that is none."""
    if batch_size is not None and not is_whole(batch_size, 1):
        refusals.add("batch_size", "must be a whole number of at least 1, or None", batch_size)
    if not is_whole(seed, 0):
        refusals.add("seed", "must be a whole number of at least 0", seed)
    if shuffle not in (True, False):
        refusals.add("shuffle", "must be True or False", shuffle)


def parts(*arrays: Any) -> tuple[Any, ...]:
    """Inputs, labels and weights as one element; what is None is left out.

    >>> parts(1, {"digit": 2}, None)
    (1, {'digit': 2})
    """
    return tuple(item for item in arrays if item is not None)


def _rows_of(arrays: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A function from row numbers to those rows of all arrays, which are held once, in main memory."""
    with tf.device("CPU"):
        tensors = tf.nest.map_structure(tf.constant, arrays)
    return lambda index: tf.nest.map_structure(lambda tensor: tf.gather(tensor, index), tensors)


def gather_rows(order: Order, arrays: tuple[Any, ...], batch_size: int | None) -> Any:
    """A dataset of rows of arrays; a batch is one gather."""
    rows = _rows_of(arrays)

    def finish(numbers: Any) -> Any:
        return numbers.map(rows).prefetch(tf.data.AUTOTUNE)

    return register_restart(finish(order.once(batch_size)), lambda n: finish(order.stream(n, batch_size)))


def read_examples(order: Order, example: Callable[..., Any], arrays: tuple[Any, ...], batch_size: int | None) -> Any:
    """A dataset of what `example` makes out of a row number and that row of the arrays, in parallel."""
    rows = _rows_of(arrays)

    def finish(numbers: Any) -> Any:
        examples = numbers.map(
            lambda index: example(index, *rows(index)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return examples if batch_size is None else examples.batch(batch_size)

    def one(index: Any, skipped: Any) -> Any:
        return finish(order.one(index, skipped * (batch_size or 1), None))

    def restart(n: int) -> Any:
        return endless(one, order.steps(batch_size), n).prefetch(tf.data.AUTOTUNE)

    return register_restart(finish(order.once(None)).prefetch(tf.data.AUTOTUNE), restart)
