"""Variance, invariance and covariance of features of two views."""

from typing import Any

import tensorflow as tf

from kmtl._replicas import replicas, sum_over_replicas

_EPSILON = 1e-4


def view_losses(one: Any, other: Any, rows: Any) -> dict[str, Any]:
    r"""What keeps features of two views alike, spread out, and telling different things.

        agreement    1 / (n d) sum_b ||z_b - z'_b||^2
        variance     1 / 2 sum over both views of 1 / d sum_j max(0, 1 - sqrt(Var_j + 1e-4))
        covariance   sum over both views of 1 / d sum_{i != j} C_ij^2,    C = 1 / (n - 1) sum_b (z_b - m) (z_b - m)'

    The agreement alone is best where all features are constant; the variance term is what forbids that.

    Source: Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning", ICLR 2022; the agreement is taken per feature here, as their published weights are meant for.

    Args:
        one: Features `(batch, d)` of this replica's rows.
        other: The same of the other view.
        rows: Which rows count, `(batch,)`.

    Returns:
        This replica's part of each, by name; statistics are of the batch over all replicas.

    >>> flat = view_losses(tf.ones((4, 2)), tf.ones((4, 2)), tf.ones(4))
    >>> {name: round(float(value), 3) for name, value in flat.items()}
    {'agreement': 0.0, 'variance': 0.99, 'covariance': 0.0}
    """
    one, other, rows = (tf.cast(value, tf.float32) for value in (one, other, rows))
    number = tf.maximum(sum_over_replicas(tf.reduce_sum(rows)), 1.0)
    apart = tf.reduce_mean(tf.square(one - other), axis=-1)
    spreads = [_covariance(view, rows, number) for view in (one, other)]
    size = tf.cast(tf.shape(one)[-1], tf.float32)
    variances = [tf.linalg.diag_part(matrix) for matrix in spreads]
    lacking = [tf.reduce_mean(tf.nn.relu(1.0 - tf.sqrt(part + _EPSILON))) for part in variances]
    tied = [
        (tf.reduce_sum(tf.square(matrix)) - tf.reduce_sum(tf.square(part))) / size
        for matrix, part in zip(spreads, variances, strict=True)
    ]
    # The statistics are the same on every replica, and their parts are added up.
    return {
        "agreement": tf.reduce_sum(apart * rows) / number,
        "variance": tf.add_n(lacking) / 2 / replicas(),
        "covariance": tf.add_n(tied) / replicas(),
    }


def _covariance(view: Any, rows: Any, number: Any) -> Any:
    """The covariance of features over the rows of all replicas, `(d, d)`."""
    mean = sum_over_replicas(tf.linalg.matvec(view, rows, transpose_a=True)) / number
    centred = (view - mean) * rows[:, None]
    return sum_over_replicas(tf.matmul(centred, centred, transpose_a=True)) / tf.maximum(number - 1.0, 1.0)
