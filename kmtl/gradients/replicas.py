"""What is summed over the replicas of a strategy."""

from typing import Any

import tensorflow as tf


def replicas() -> int:
    """Number of replicas that run this step in sync."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value: Any) -> Any:
    """Sums a tensor over all replicas; without a strategy it is returned as it is."""
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
