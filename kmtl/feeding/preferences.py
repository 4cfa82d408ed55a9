"""Preferences among the tasks, drawn anew for each example, and the loss weights that follow from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kmtl.feeding.explaining import explained_as
from kmtl.feeding.positions import restart_of, restartable

_LAST = 2**62


def drawn(count: int, tasks: int, alpha: float, edges: float, seed: Any) -> Any:
    """Draws preferences from a Dirichlet distribution with extra mass on the corners.

        r ~ (1 - edges) Dirichlet(alpha, ..., alpha) + edges Uniform{e_1, ..., e_K}

    Args:
        count: How many; may be a tensor.
        tasks: Number of tasks `K`.
        alpha: 1 is uniform on the simplex, less moves to its edges.
        edges: Share of the draws that want one task alone.
        seed: Two whole numbers, a tensor; equal ones give equal draws.

    Returns:
        Rows that sum to 1, `(count, tasks)`, float32.
    """
    first, second, third = tf.unstack(tf.random.split(seed, 3))
    gamma = tf.random.stateless_gamma((count, tasks), first, alpha) + 1e-20
    inside = gamma / tf.reduce_sum(gamma, axis=-1, keepdims=True)
    corners = tf.one_hot(tf.random.stateless_uniform((count,), second, 0, tasks, tf.int32), tasks)
    chosen = tf.random.stateless_uniform((count,), third) < edges
    return tf.where(chosen[:, None], corners, inside)


def preferred(
    dataset: tf.data.Dataset, inputs: Sequence[str], tasks: Sequence[str], *, alpha: float, edges: float, seed: int
) -> tf.data.Dataset:
    """Adds a preference to each example, as an input and as the weight of each task's loss.

    Args:
        dataset: Batches `(x, {task: label})` or `(x, labels, {task: weight})`.
        inputs: Names of the model's inputs; the last one is the preference's.
        tasks: Names of the tasks, in order.
        alpha: Of the Dirichlet distribution.
        edges: Share of the examples that want one task alone.
        seed: Of the draws. A stream of `kmtl.data` keeps its restart: batch `n` has the same preferences in every run.

    Returns:
        Batches `(inputs by name, labels, weights by task)`.
    """

    def add(batch: tuple[Any, ...], number: Any) -> tuple[Any, ...]:
        x, labels, *weights = batch
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        rows = drawn(count, len(tasks), alpha, edges, tf.stack([tf.constant(seed, tf.int64), number]))
        given = dict(x) if isinstance(x, Mapping) else dict(zip(inputs, [*tf.nest.flatten(x), rows], strict=True))
        given[inputs[-1]] = rows
        shares = dict(zip(tasks, tf.unstack(rows, axis=-1), strict=True))
        return given, labels, _weighed(shares, weights[0] if weights else None)

    def along(batches: Any, numbers: Any) -> Any:
        return tf.data.Dataset.zip(batches, numbers).map(lambda *pair: add(pair[0], pair[1])).prefetch(2)

    # A finite pass begins anew each epoch; its draws must not.
    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    changed, restart = explained_as(dataset, along(dataset, numbers)), restart_of(dataset)
    if restart is None:
        return changed
    return restartable(changed, lambda n: along(restart(n), tf.data.Dataset.range(n, _LAST)))


def _weighed(shares: Mapping[str, Any], weights: Any) -> dict[str, Any]:
    """The preferences as sample weights, times those that are there."""
    if weights is None:
        return dict(shares)
    if isinstance(weights, Mapping):
        return {name: share * tf.cast(weights.get(name, 1.0), share.dtype) for name, share in shares.items()}
    return {name: share * tf.cast(weights, share.dtype) for name, share in shares.items()}


def fixed(dataset: tf.data.Dataset, inputs: Sequence[str], preference: Any) -> tf.data.Dataset:
    """Adds one preference to every example, as an input alone: what an evaluation at it needs."""

    def add(x: Any, *rest: Any) -> tuple[Any, ...]:
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        rows = tf.tile(tf.constant(preference, tf.float32)[None], (count, 1))
        given = dict(x) if isinstance(x, Mapping) else dict(zip(inputs, [*tf.nest.flatten(x), rows], strict=True))
        given[inputs[-1]] = rows
        return (given, *rest)

    return dataset.map(add)
