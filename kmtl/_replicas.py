"""What crosses the replicas of a strategy: sums, and the branches of a condition."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def replicas() -> int:
    """Number of replicas that run this step in sync."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def is_replicated(strategy: Any) -> bool:
    """Whether steps run on more than one replica, or in a strategy of many machines."""
    return strategy.num_replicas_in_sync > 1 or isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def sum_over_replicas(value: Any) -> Any:
    """Sums a tensor, or a list of tensors at once, over all replicas; without a strategy it is returned as it is.

    A list crosses in buckets, as `tf.distribute` packs it; entries that are None stay None.
    """
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return value
    if not isinstance(value, list):
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
    given = [tensor for tensor in value if tensor is not None]
    pack = getattr(tf.distribute.get_strategy(), "bytes_per_pack", 0)
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=pack)
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, given, options) if given else [])
    return [None if tensor is None else next(summed) for tensor in value]


def branch(predicate: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """`tf.cond` whose branches may sum over replicas and assign variables.

    Within a replica TensorFlow allows neither: "merge_call called while defining a new graph".
    So the condition stands outside of the replicas, and each of its branches goes back into all of them.

    Args:
        predicate: A boolean scalar, the same on every replica.
        yes: Taken where it is true; returns tensors.
        no: Taken where it is false; returns the like.
    """
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return tf.cond(predicate, yes, no)

    def across(strategy: Any, predicates: Any, *branches: Any) -> Any:
        flag = strategy.experimental_local_results(predicates)[0]
        ways = [lambda way=way: strategy.extended.call_for_each_replica(_called, args=(way,)) for way in branches]
        return tf.cond(flag, *ways)

    # The branches travel as arguments: each replica's close over its own tensors.
    return context.merge_call(across, args=(predicate, yes, no))


def _called(function: Callable[[], Any]) -> Any:
    """Calls the replica's own function."""
    return function()


def is_many_machines(strategy: Any) -> bool:
    """Whether a strategy spans processes that each feed and write on their own."""
    resolver = strategy.cluster_resolver
    spans = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return spans and resolver is not None and bool(resolver.cluster_spec().as_dict())


def is_first_machine(strategy: Any) -> bool:
    """Whether this process is the one that writes files for all."""
    if not is_many_machines(strategy):
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def of_first(strategy: Any, value: Any) -> Any:
    """The first machine's number or array, on all machines; they have to ask together."""
    if not is_many_machines(strategy):
        return value

    @tf.function(autograph=False)
    def ask(given: Any) -> Any:
        return strategy.run(lambda: sum_over_replicas(tf.where(_replica() == 0, given, tf.zeros_like(given))))

    return strategy.experimental_local_results(ask(tf.constant(value)))[0].numpy()


def _replica() -> Any:
    """Number of this replica among all."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group
