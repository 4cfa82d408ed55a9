"""How a step gets the shared weights' gradient under a balancer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl._replicas import branch, sum_over_replicas
from kmtl._types import Tensor
from kmtl.gradients.backward import Backward
from kmtl.gradients.vectors import all_finite, flatten, gramian, unflatten, weighted_sum


class Known(NamedTuple):
    """What a step knows of its tasks.

    Attributes:
        losses: Losses over the global batch under the static weights, `(K,)`.
        present: Which tasks have a label in the global batch, `(K,)`.
        counts: Labelled examples in the global batch, `(K,)`.
        scale: What the optimizer's loss scaling multiplied on.
        is_scaled: Whether it does so.
        healthy: Which tasks have a finite loss, `(K,)`.
    """

    losses: Any
    present: Any
    counts: Any
    scale: Any
    is_scaled: bool
    healthy: Any


class Balanced(NamedTuple):
    """What a route returns.

    Attributes:
        direction: The shared variables' gradient, summed over replicas, scaled.
        weights: The balancer's weights, `(K,)`.
        gram: The Gramian that they come from, `(K, K)`; None where there is none.
    """

    direction: list[Any]
    weights: Any
    gram: Any


def exact_route(back: Backward, balancer: Any, known: Known) -> Balanced:
    """Every task's own gradient: one pass through the trunk a task."""
    if not back.shared:
        # A lone task shares nothing.
        return Balanced([], tf.cast(known.present, tf.float32), None)
    return _new_weights(back, balancer, known)


def kept_weights_route(back: Backward, balancer: Any, known: Known) -> Balanced:
    """The weights of the last step that made some: one pass."""
    weights = balancer.keep(known.losses, known.present)
    return Balanced(sum_over_replicas(back.direction(weights)), weights, None)


def _new_weights(back: Backward, balancer: Any, known: Known) -> Balanced:
    """New weights, from the gradients of this step."""
    rows = back.rows()
    if balancer.needs == "gradients":
        return _combine(rows, balancer, known)
    gram = gramian(rows) / tf.square(known.scale)
    present = known.present & is_sound(gram, known)
    weights = balancer.weigh(losses=known.losses, gram=gram, present=present, counts=known.counts)
    return Balanced(_keep_overflow(weighted_sum(rows, weights), gram, known), weights, gram)


def _combine(rows: Sequence[Any], balancer: Any, known: Known) -> Balanced:
    """A direction that is no weighted sum, or one of remembered gradients."""
    matrix = tf.stack([flatten(row) for row in rows]) / known.scale
    gram = tf.matmul(matrix, matrix, transpose_b=True)
    vector = balancer.combine(matrix, losses=known.losses, present=known.present & is_sound(gram, known))
    direction = unflatten(vector * known.scale, rows[0])
    weights = tf.where(known.present, balancer.last, 0.0)
    return Balanced(_keep_overflow(direction, gram, known), weights, gram)


def _keep_overflow(direction: list[Any], gram: Tensor, known: Known) -> list[Tensor]:
    """Under loss scaling an overflow must reach the optimizer, which lowers the scale."""
    if not known.is_scaled:
        return direction
    good = is_sound(gram, known)
    return [tf.where(good, tensor, tf.constant(float("nan"), tensor.dtype)) for tensor in direction]


def is_sound(gram: Tensor, known: Known) -> Tensor:
    """Whether the balancer may learn from this step; under loss scaling an overflow is no fault of a task's."""
    return tf.reduce_all(tf.math.is_finite(tf.linalg.diag_part(gram))) if known.is_scaled else tf.constant(True)


def slice_route(small: Backward, counts: Tensor, back: Backward, balancer: Any, known: Known) -> Balanced:
    """Weights from the gradients of a slice of the batch, then one pass for all of it.

    Args:
        small: Of the slice.
        counts: Labelled examples of the slice, `(K,)`.
        back: Of the whole batch.
        balancer: One that needs `"gram"`.
        known: Of the whole batch.
    """
    gram = gramian(small.rows()) / tf.square(known.scale)
    seen = known.present & (sum_over_replicas(counts) > 0) & is_sound(gram, known)
    weights = balancer.weigh(losses=known.losses, gram=gram, present=seen, counts=known.counts)
    weights = balancer.fill_in(weights, known.present & known.healthy & ~seen)
    return Balanced(sum_over_replicas(back.direction(weights)), weights, gram)


def tracking_route(back: Backward, weights: Tensor, known: Known) -> Balanced:
    """Every task's own gradient for the sake of the logs; the weights come from the losses.

    Args:
        back: Of the losses under these weights.
        weights: Of a balancer that needs losses, `(K,)`.
        known: Of the step.
    """
    rows = back.rows()
    safe = tf.where(weights > 0, weights, 1.0) * known.scale
    gram = gramian(rows) / safe[:, None] / safe[None, :]
    return Balanced(weighted_sum(rows, tf.ones_like(weights)), weights, gram)


def online_route(back: Backward, balancer: Any, known: Known) -> Balanced:
    """Weights from an estimate of the Gramian, which the slopes along the direction then correct."""
    weights = balancer.foresee(losses=known.losses, present=known.present, lengths=back.lengths())
    direction = _learn(back, balancer, known, weights)
    if balancer.probes:
        equal = tf.cast(known.present & known.healthy, tf.float32)

        def probe() -> Tensor:
            _learn(back, balancer, known, equal)
            return tf.constant(0.0)

        branch(balancer.probes_now, probe, lambda: tf.constant(0.0))
    return Balanced(direction, weights, None)


def _learn(back: Backward, balancer: Any, known: Known, weights: Tensor) -> list[Tensor]:
    """Takes a direction, measures what it does to every task, and returns it."""
    direction, slopes = back.direction_with_slopes(weights)
    whole = sum_over_replicas(direction)
    # Parts and direction are scaled, each by the same number.
    products = sum_over_replicas(slopes(whole)) / tf.square(known.scale)
    balancer.learn(weights, products, known.present & known.healthy & all_finite(whole))
    return whole
