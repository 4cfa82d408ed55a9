"""Which source the next example comes from: a stateless function of the seed and the example's number."""

from typing import Any

import numpy as np
import tensorflow as tf

from kmtl.feeding.order import LAST, key_of, shuffle_by_key

# Choices are drawn so many at a time; a stream of the same seed is the same only while this stands.
_BLOCK = 4096


def choices(probabilities: Any, seed: int, *, start: int = 0, examples_per_epoch: int = 1) -> Any:
    """An endless dataset of source numbers, from the example numbered `start` on.

    Args:
        probabilities: Shape `(E, K)`, one row an epoch; after the last epoch its row stays.
        seed: Another seed is another stream.
        start: Number of the first example, from 0.
        examples_per_epoch: Examples for which one row holds.

    Returns:
        A `tf.data.Dataset` of int64 scalars in `0 .. K - 1`.

    >>> whole = choices([[0.5, 0.5]], seed=3)
    >>> later = choices([[0.5, 0.5]], seed=3, start=5)
    >>> [int(k) for k in whole.skip(5).take(9)] == [int(k) for k in later.take(9)]
    True
    """
    blocks = _blocks(probabilities, seed, examples_per_epoch, start // _BLOCK, LAST)
    return blocks.flat_map(tf.data.Dataset.from_tensor_slices).skip(start % _BLOCK)


def count_choices(probabilities: Any, seed: int, *, start: int, examples_per_epoch: int = 1) -> list[int]:
    """Counts how often each source was chosen before the example numbered `start`.

    About 5 s of one core per 100 million examples.

    Args:
        probabilities: As in `choices`.
        seed: As in `choices`.
        start: Number of examples before.
        examples_per_epoch: As in `choices`.

    Returns:
        One count a source; their sum is `start`.

    >>> sum(count_choices([[0.2, 0.8]], seed=3, start=10_000))
    10000
    """
    sources = np.shape(probabilities)[1]
    whole, rest = divmod(start, _BLOCK)

    def count(block: Any) -> Any:
        return tf.math.bincount(tf.cast(block, tf.int32), minlength=sources, maxlength=sources, dtype=tf.int64)

    full = _blocks(probabilities, seed, examples_per_epoch, 0, whole)
    last = _blocks(probabilities, seed, examples_per_epoch, whole, whole + 1).map(lambda block: block[:rest])
    counted = full.concatenate(last).map(count, num_parallel_calls=tf.data.AUTOTUNE)
    total = counted.reduce(tf.zeros(sources, tf.int64), tf.add)
    return [int(value) for value in total]


def _blocks(probabilities: Any, seed: int, examples_per_epoch: int, first: int, last: int) -> Any:
    """Source numbers in blocks; the one route to a choice, for the stream and for the count."""
    table = np.cumsum(np.asarray(probabilities, np.float64), axis=1)
    # Ends at exactly 1, so that no draw falls behind the last source that has a probability.
    table = table / table[:, -1:]

    def block(number: Any) -> Any:
        draws = tf.random.stateless_uniform(
            [_BLOCK], seed=tf.stack([tf.constant(seed, tf.int64), number]), dtype=tf.float64, alg="philox"
        )
        epoch = (number * _BLOCK + tf.range(_BLOCK, dtype=tf.int64)) // examples_per_epoch
        rows = tf.gather(table, tf.minimum(epoch, table.shape[0] - 1))
        return tf.reduce_sum(tf.cast(rows <= draws[:, None], tf.int64), axis=1)

    return tf.data.Dataset.range(first, last).map(block)


def shuffled_passes(source: Any, buffer: int, seed: int, number: int, first_pass: int) -> Any:
    """Endless passes over a source, each shuffled by a seed made from (seed, source, pass).

    Args:
        source: A finite or infinite `tf.data.Dataset` that holds at least one example, or a function from a
            pass's number to one.
        buffer: Examples that the shuffle holds in memory, as in `tf.data.Dataset.shuffle`.
        seed: Seed of the stream.
        number: Number of the source.
        first_pass: Number of the first pass.

    Returns:
        A `tf.data.Dataset` like `source`, without end.

    >>> ten = tf.data.Dataset.range(10)
    >>> passes = [int(v) for v in shuffled_passes(ten, 10, seed=1, number=0, first_pass=0).take(20)]
    >>> sorted(passes[:10]) == sorted(passes[10:]), passes[:10] == passes[10:]
    (True, False)
    """

    def one(index: Any) -> Any:
        return shuffle_by_key(source(index) if callable(source) else source, buffer, key_of(seed, number, index))

    return tf.data.Dataset.range(first_pass, LAST).flat_map(one)
