"""Passes over a set without end, each in an order that is a function of the seed and the pass's number alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

LAST = np.iinfo(np.int64).max


def element_options() -> Any:
    """Options of a dataset in one order, whose elements machines share, never its files: each would order its own."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def key_of(seed: int, number: int, index: Any) -> Any:
    """The key of one of many draws, `(2,)`, int64.

    Args:
        seed: The user's seed.
        number: What is drawn, so that two uses of one seed differ.
        index: Which draw: a pass, a batch; a number or a tensor.
    """
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, number], tf.int64), index, alg="philox")


def random_integer(key: Any) -> Any:
    """One int64 from a key."""
    return tf.random.stateless_uniform([], key, minval=None, maxval=None, dtype=tf.int64, alg="philox")


def shuffle_by_key(source: Any, buffer: Any, key: Any) -> Any:
    """A dataset in an order given by a key; to be called inside a function that tf.data traces."""
    # The global seed would otherwise enter the order; inside a traced function this sets the graph's own seed only.
    if not tf.executing_eagerly():
        tf.random.set_seed(1)
    return source.shuffle(buffer, seed=random_integer(key), reshuffle_each_iteration=False)


def permute(positions: Any, count: int, key: Any) -> Any:
    """Where the permutation of `0 .. count - 1` that a key stands for puts positions, without ever making all of it.

    >>> sorted(permute(tf.range(5, dtype=tf.int64), 5, key_of(3, 0, 0)).numpy().tolist())
    [0, 1, 2, 3, 4]
    """
    seeds = tf.random.stateless_uniform([2], key, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    return tf.random.experimental.index_shuffle(positions, seeds, tf.constant(count - 1, tf.int64))


def endless(one: Callable[[Any, Any], Any], steps: int, start: Any) -> Any:
    """Passes one after another, from batch number `start` on.

    Args:
        one: From a pass's number and how many of its batches to leave out to a dataset of the others.
        steps: Batches a pass.
        start: Number of the first batch, an int or an int64 scalar.

    Returns:
        A `tf.data.Dataset` without end.
    """
    first, inside = start // steps, start % steps

    def numbered(index: Any) -> Any:
        return one(index, tf.where(index == first, tf.cast(inside, tf.int64), tf.constant(0, tf.int64)))

    return tf.data.Dataset.range(first, LAST).flat_map(numbered)


def one_pass(one: Callable[[Any, Any], Any], shuffle: bool, seed: int) -> Any:
    """One whole pass; if shuffled another one at every iteration, which tf.data's own state numbers.

    Args:
        one: As in `endless`.
        shuffle: Whether passes differ.
        seed: Seed of the numbers.
    """
    if not shuffle:
        return one(0, 0)
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    return numbers.flat_map(lambda index: one(index, 0))


@dataclass(frozen=True)
class Order:
    """In which order the rows of a set come.

    Args:
        rows: How many there are.
        shuffle: Whether every pass has an order of its own; only numbers are shuffled, never examples.
        seed: Seed of the order.
    """

    rows: int
    shuffle: bool
    seed: int

    def once(self, batch_size: int | None) -> Any:
        """Row numbers of one pass, in batches if a size is given; tf.data's own state makes each iteration another."""
        order = tf.data.Dataset.range(self.rows)
        if self.shuffle:
            order = order.shuffle(self.rows, seed=self.seed, reshuffle_each_iteration=True)
        return order if batch_size is None else order.batch(batch_size)

    def steps(self, batch_size: int | None) -> int:
        """Batches, or examples, of one pass."""
        return -(-self.rows // (batch_size or 1))

    def stream(self, start: Any, batch_size: int | None) -> Any:
        """Row numbers of endless passes from batch, or example, number `start` on.

        >>> order = Order(rows=5, shuffle=False, seed=0)
        >>> [numbers.tolist() for numbers in order.stream(1, batch_size=2).take(3).as_numpy_iterator()]
        [[2, 3], [4], [0, 1]]
        """
        steps, size = self.steps(batch_size), batch_size or 1

        def numbers(index: Any) -> Any:
            first = index % steps * size
            positions = tf.range(first, tf.minimum(first + size, self.rows))
            return self.at(positions if batch_size else first, index // steps)

        return tf.data.Dataset.range(start, LAST).map(numbers)

    def one(self, index: Any, skipped: Any, batch_size: int | None) -> Any:
        """Row numbers of the pass numbered `index`, without its first `skipped` batches, or examples."""
        positions = tf.data.Dataset.range(skipped * (batch_size or 1), self.rows)
        batches = positions if batch_size is None else positions.batch(batch_size)
        return batches.map(lambda numbers: self.at(numbers, index))

    def at(self, positions: Any, index: Any) -> Any:
        """The row numbers at some positions of the pass numbered `index`."""
        return permute(positions, self.rows, key_of(self.seed, 0, index)) if self.shuffle else positions


def stream_rows(first: int, arrays: Any, batch_size: int, shuffle: bool, seed: int) -> Any:
    """Batches of rows of arrays without end.

    Args:
        first: Number of the first batch.
        arrays: Any structure of arrays of one length; parts that are None are left out from the end.
        batch_size: Rows a batch; the last of a pass may have fewer.
        shuffle: Whether every pass has an order of its own.
        seed: Of the orders.
    """
    with tf.device("CPU"):
        given = tf.nest.map_structure(tf.constant, tuple(part for part in arrays if part is not None))
    order = Order(len(tf.nest.flatten(given)[0]), shuffle, seed)
    batches = order.stream(first, batch_size)
    taken = batches.map(lambda numbers: tf.nest.map_structure(lambda tensor: tf.gather(tensor, numbers), given))
    return taken.prefetch(tf.data.AUTOTUNE)
