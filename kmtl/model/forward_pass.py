"""What a forward pass tells a step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl import gradients
from kmtl.losses import Examples


class Pass(NamedTuple):
    """What a forward pass tells of the tasks; this replica's part of it.

    Attributes:
        examples: What each group of tasks looked at.
        gates: What can stop the gradient of single tasks, one a group; none if not asked for.
        sums: Summed loss of each task, and of each joint loss behind them, `(K + J,)`.
        counts: Labels of each task that count, and rows of each joint loss, `(K + J,)`.
        parts: Sum of each of several losses of one task, `(P,)`; None without any.
        joint_metrics: Sums and counts of the joint metrics, `(M,)` each; None without any.
        penalty: Part of the penalties.
        extras: Part of each loss that belongs to no task, by name.
        losses: Part of each loss's mean over the global batch, under its static weight, `(K + J,)`.
        means: That mean itself, `(K + J,)`.
        totals: Labels of each task and rows of each joint loss in the global batch, `(K + J,)`.
        present: Which of them have a label or row in the global batch and a weight above 0, `(K + J,)`.
    """

    examples: list[Examples]
    gates: list[gradients.Gate]
    sums: Any
    counts: Any
    parts: Any
    penalty: Any
    extras: Mapping[str, Any]
    joint_metrics: Any = None
    losses: Any = None
    means: Any = None
    totals: Any = None
    present: Any = None

    def finite_beside(self, number: int) -> Any:
        """Which of the losses from `number` on, those that the balancer does not see, are finite."""
        return tf.math.is_finite(self.means[number:])

    def sum_beside(self, number: int) -> Any:
        """The sum of these losses; one that is not finite sits out."""
        return tf.reduce_sum(tf.where(self.finite_beside(number), self.losses[number:], 0.0))


def first_examples(batch: Sequence[Any], share: float) -> list[Any]:
    """A share of the examples of a batch, from the first on and at least one; None stays.

    >>> first_examples((tf.range(5), {"age": tf.range(5)}, None), 0.3)[0].numpy().tolist()
    [0, 1]
    """
    first = tf.nest.flatten(batch[0])[0]
    if first.shape[0] is None:
        size = tf.cast(tf.math.ceil(share * tf.cast(tf.shape(first)[0], tf.float32)), tf.int32)
    else:
        size = math.ceil(share * first.shape[0])
    return [None if one is None else tf.nest.map_structure(lambda tensor: tensor[:size], one) for one in batch]
