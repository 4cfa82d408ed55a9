"""Preferences among the tasks, drawn anew for each example, and the loss weights that follow from them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl.feeding.errors import share_explanation
from kmtl.feeding.resume import register_restart, restart_of

_LAST = 2**62


class Draws(NamedTuple):
    """How preferences are drawn.

    Attributes:
        alpha: Of the Dirichlet distribution: 1 is uniform on the simplex, less moves to its edges.
        edges: Share of the draws that want one task alone.
        sharpness: The power that shares are raised to, in the first batch and after the last.
        batches: Number of batches over which the power goes from one to the other.
        seed: Of the draws.
    """

    alpha: float
    edges: float
    sharpness: tuple[float, float]
    batches: int
    seed: int

    def power(self, number: Any) -> Any:
        """The power in a batch."""
        done = tf.minimum(tf.cast(number, tf.float32) / float(self.batches), 1.0)
        first, last = self.sharpness
        return first + (last - first) * done


def draw(count: int, tasks: int, alpha: float, edges: float, power: Any, seed: Any) -> Any:
    """Draws preferences from a Dirichlet distribution, sharpened, with extra mass on the corners.

        r ~ (1 - edges) d^p / sum_j d_j^p + edges Uniform{e_1, ..., e_K},    d ~ Dirichlet(alpha, ..., alpha)

    Args:
        count: How many; may be a tensor.
        tasks: Number of tasks `K`.
        alpha: 1 is uniform on the simplex, less moves to its edges.
        edges: Share of the draws that want one task alone.
        power: `p`: 0 gives every task the same, 1 leaves the draws as they are, more moves them to the corners.
        seed: Two whole numbers, a tensor; equal ones give equal draws.

    Returns:
        Rows that sum to 1, `(count, tasks)`, float32.
    """
    first, second, third = tf.unstack(tf.random.split(seed, 3))
    gamma = tf.random.stateless_gamma((count, tasks), first, alpha) + 1e-20
    # Divided first, so that a power neither overflows nor leaves only zeros.
    sharp = (gamma / tf.reduce_max(gamma, axis=-1, keepdims=True)) ** power
    inside = sharp / tf.reduce_sum(sharp, axis=-1, keepdims=True)
    corners = tf.one_hot(tf.random.stateless_uniform((count,), second, 0, tasks, tf.int32), tasks)
    chosen = tf.random.stateless_uniform((count,), third) < edges
    return tf.where(chosen[:, None], corners, inside)


def with_draws(dataset: tf.data.Dataset, inputs: Sequence[str], tasks: Sequence[str], draws: Draws) -> tf.data.Dataset:
    """Adds a preference to each example, as an input and as the weight of each task's loss.

    Args:
        dataset: Batches `(x, {task: label})` or `(x, labels, {task: weight})`.
        inputs: Names of the model's inputs; the last one is the preference's.
        tasks: Names of the tasks, in order.
        draws: How they are drawn. Batch `n` of the stream has the same preferences in every run.

    Returns:
        Batches `(inputs by name, labels, weights by task)` without end, pass after pass: the number of a batch, counted
        over the passes, says how far the training is.
    """

    def add(batch: tuple[Any, ...], number: Any) -> tuple[Any, ...]:
        x, labels, *weights = batch
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        seeds = tf.stack([tf.constant(draws.seed, tf.int64), number])
        rows = draw(count, len(tasks), draws.alpha, draws.edges, draws.power(number), seeds)
        given = dict(x) if isinstance(x, Mapping) else dict(zip(inputs, [*tf.nest.flatten(x), rows], strict=True))
        given[inputs[-1]] = rows
        shares = dict(zip(tasks, tf.unstack(rows, axis=-1), strict=True))
        return given, labels, _sample_weights(shares, weights[0] if weights else None)

    def along(batches: Any, first: int) -> Any:
        numbered = tf.data.Dataset.zip(batches, tf.data.Dataset.range(first, _LAST))
        changed = numbered.map(lambda *pair: add(pair[0], pair[1])).prefetch(2)
        return changed.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    changed, restart = share_explanation(dataset, along(dataset.repeat(), 0)), restart_of(dataset)
    return changed if restart is None else register_restart(changed, lambda n: along(restart(n), n))


def _sample_weights(shares: Mapping[str, Any], weights: Any) -> dict[str, Any]:
    """The preferences as sample weights, times those that are there."""
    if weights is None:
        return dict(shares)
    if isinstance(weights, Mapping):
        return {name: share * tf.cast(weights.get(name, 1.0), share.dtype) for name, share in shares.items()}
    return {name: share * tf.cast(weights, share.dtype) for name, share in shares.items()}


def with_one(dataset: tf.data.Dataset, inputs: Sequence[str], preference: Any) -> tf.data.Dataset:
    """Adds one preference to every example, as an input alone: what an evaluation at it needs."""

    def add(x: Any, *rest: Any) -> tuple[Any, ...]:
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        rows = tf.tile(tf.constant(preference, tf.float32)[None], (count, 1))
        given = dict(x) if isinstance(x, Mapping) else dict(zip(inputs, [*tf.nest.flatten(x), rows], strict=True))
        given[inputs[-1]] = rows
        return (given, *rest)

    return dataset.map(add)
