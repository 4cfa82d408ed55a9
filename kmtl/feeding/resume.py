"""Where in its endless stream of batches a dataset stands, and how to go on from there."""

import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmtl.feeding.errors import share_explanation

_RESTARTS: weakref.WeakKeyDictionary[Any, Callable[[int], Any]] = weakref.WeakKeyDictionary()


def register_restart(dataset: Any, restart: Callable[[int], Any]) -> Any:
    """Remembers how a dataset's stream begins anywhere.

    A finite `tf.data.Dataset` cannot know which pass over the data it is on; a stream that is
    made at a batch's number can.

    Args:
        dataset: A `tf.data.Dataset` of batches, or of single examples, which then count as batches.
        restart: From `n` to an endless dataset of the same elements: what passes over the set give from batch `n`
            on. Pass `p` begins at batch `p * len(dataset)` and ends with its own smaller last batch. Where `dataset`
            has an end, `n` may be an int64 scalar of a function that tf.data traces. It must not hold on
            to `dataset`, which would then never be freed.

    Returns:
        The dataset itself. What is derived from it (`map`, `take` ...) has no restart function; see `transform_stream`.

    >>> digits = lambda n: tf.data.Dataset.range(n, 2**62).map(lambda v: v % 10)
    >>> ten = register_restart(tf.data.Dataset.range(10), digits)
    >>> [int(v) for v in stream_from(ten, 8).take(4)]
    [8, 9, 0, 1]
    """
    _RESTARTS[dataset] = restart
    return dataset


def restart_of(dataset: Any) -> Callable[[int], Any] | None:
    """The restart function of a dataset, None if it has none."""
    return _RESTARTS.get(dataset)


def stream_from(dataset: Any, n: int) -> Any:
    """The endless stream of a dataset's batches from batch number `n` on, counted from the start of the first pass.

    The datasets of `kmtl.data` bring a restart function: their stream is a function of the arguments that made
    them and of `n` alone, in every process, and costs little to begin in the middle. Its order is not that of plain
    iteration, which tf.data shuffles by a state of its own.

    Any other dataset is repeated, and its first `n` batches are read and dropped. That is exact for what gives the
    same batches in the same order in every process and however often it was iterated before.

    Args:
        dataset: A `tf.data.Dataset` of batches.
        n: Number of the first batch, at least 0.

    Returns:
        A `tf.data.Dataset` without end.

    >>> [int(v) for v in stream_from(tf.data.Dataset.range(3), 4).take(4)]
    [1, 2, 0, 1]
    """
    restart = restart_of(dataset)
    if restart is None:
        return dataset.repeat().skip(n)
    # Keras asks for the steps of an epoch only of what it knows to have no end.
    return restart(n).apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def transform_stream(dataset: Any, change: Callable[[Any], Any]) -> Any:
    """Changes a dataset and, where it has one, its stream alike; its errors stay explained, too.

    Args:
        dataset: A `tf.data.Dataset`.
        change: From a dataset to another with one element for each, in the same order, as a `map` or a `prefetch`.

    Returns:
        The changed dataset; its restart function, if `dataset` had one, gives the changed stream.

    >>> count = register_restart(tf.data.Dataset.range(3), lambda n: tf.data.Dataset.range(n, 2**62))
    >>> [int(v) for v in stream_from(transform_stream(count, lambda numbers: numbers.map(lambda v: -v)), 5).take(2)]
    [-5, -6]
    """
    changed, restart = share_explanation(dataset, change(dataset)), restart_of(dataset)
    return changed if restart is None else register_restart(changed, lambda n: change(restart(n)))
