"""Whose turn it is: a function of the seed and the step's number alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl.data.mixing.proportions import annealed, proportional
from kmtl.feeding.order import key_of

ORDERS = ("round_robin", "proportional", "random", "temperature", "annealed")
# What else is drawn under the user's seed has a number from 0 on.
_TURNS, _MANY = -1, 4096


class Turns:
    """Whose turn each step is.

    Args:
        table: Probability of each task, `(E, K)`, one row an epoch, the last of which stays; None gives each its turn,
            one after the other.
        tasks: How many tasks there are, K.
        seed: Of the draws.
        block: Steps that a turn lasts.
        steps_per_epoch: Steps for which one row holds.

    >>> [int(Turns(None, 3).at(step)) for step in range(4)]
    [0, 1, 2, 0]
    >>> [int(Turns(None, 2, block=2).at(step)) for step in range(5)]
    [0, 0, 1, 1, 0]
    """

    def __init__(self, table: Any, tasks: int, *, seed: int = 0, block: int = 1, steps_per_epoch: int = 1) -> None:
        self.tasks, self.seed, self.block, self.steps_per_epoch = tasks, seed, block, steps_per_epoch
        self.table = None if table is None else np.asarray(table, np.float64)

    def at(self, step: Any) -> Any:
        """The place of the task whose turn a step is, an int64 scalar; `step` may be a tensor."""
        number = tf.cast(step, tf.int64) // self.block
        if self.table is None:
            return number % self.tasks
        ends = np.cumsum(self.table, axis=1)
        # Ends at exactly 1, so that no draw falls behind the last task.
        rows = tf.constant(ends / ends[:, -1:])
        epoch = tf.minimum(number * self.block // self.steps_per_epoch, len(self.table) - 1)
        drawn = tf.random.stateless_uniform([], key_of(self.seed, _TURNS, number), dtype=tf.float64, alg="philox")
        return tf.reduce_sum(tf.cast(tf.gather(rows, epoch) <= drawn, tf.int64))

    def counts(self, steps: int) -> list[int]:
        """How often each task had its turn in the first steps.

        >>> Turns([[0.25, 0.75]], 2).counts(400)
        [101, 299]
        """
        turns = tf.data.Dataset.range(steps).map(self.at).batch(_MANY)
        counted = np.zeros(self.tasks, np.int64)
        for part in turns.as_numpy_iterator():
            counted += np.bincount(part, minlength=self.tasks)
        return [int(count) for count in counted]


def table_of(order: str, sizes: Sequence[int], epochs: int, *, weights: Any = None, temperature: float = 2.0) -> Any:
    """Probabilities of an order.

    Args:
        order: One of `ORDERS`.
        sizes: Labels of each task, `N_k`.
        epochs: Of the training.
        weights: For `"random"`, one a task; None weighs all alike.
        temperature: For `"temperature"`.

    Returns:
        Array `(E, K)`, rows sum to 1; None for `"round_robin"`.

    >>> table_of("temperature", [100, 400], 1).round(3).tolist()
    [[0.333, 0.667]]
    """
    if order == "round_robin":
        return None
    if order == "annealed":
        return annealed(sizes, epochs)
    if order == "random":
        row = np.asarray([1.0] * len(sizes) if weights is None else weights, np.float64)
        return (row / row.sum())[None]
    return proportional(sizes, 1.0 / temperature if order == "temperature" else 1.0)[None]
