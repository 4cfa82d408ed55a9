"""Training images of `digit_poses` that are drawn anew every epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl.data.built_in.digits import source_digits
from kmtl.data.built_in.transforms import draw_batch, poses
from kmtl.data.hiding import blank
from kmtl.feeding.order import LAST, Order, key_of, random_integer
from kmtl.feeding.resume import register_restart

# What is drawn by the seed of a stream: 0 is the order of its passes.
_POSES = 1


def fresh_batches(
    sources: Any, labels: Sequence[str], hidden: dict[str, Any], *, batch_size: int, shuffle: bool, seed: int
) -> tf.data.Dataset:
    """Draws each source digit in a new pose every epoch.

    Poses are distributed as in the prepared set. A whole batch is drawn by one op
    from one random seed, which the dataset draws anew for every batch; two runs
    with one `seed` see the same images, epoch by epoch. Batch `n` of the stream is a function of `(seed, n)` alone.

    Args:
        sources: Index of each example's source digit, `(examples,)`.
        labels: Which of digit, angle, position and scale, in order.
        hidden: Which examples lack which label, as `hidden_rows` gives it.
        batch_size: Examples a batch.
        shuffle: Whether to change the order every epoch.
        seed: Of the order and the poses.

    Returns:
        Batches of images `(batch, 32, 32, 1)`, float32 in 0..1, and labels by name.
    """
    images, digits = source_digits()
    rows = {"image": images[sources].astype(np.float32), "digit": digits[sources].astype(np.int32)}
    order = Order(len(sources), shuffle, seed)

    def drawn_batch(numbers: Any, batch_seed: Any) -> Any:
        row, hidden_here = tf.nest.map_structure(lambda array: tf.gather(array, numbers), (rows, hidden))
        image, truth = redraw(row["image"], batch_seed)
        truth["digit"] = row["digit"]
        return image, blank({name: truth[name] for name in labels}, hidden_here)

    def finish(numbers: Any, seeds: Any) -> Any:
        return tf.data.Dataset.zip((numbers, seeds)).map(drawn_batch, num_parallel_calls=tf.data.AUTOTUNE)

    def restart(n: int) -> Any:
        seeds = tf.data.Dataset.range(n, LAST).map(lambda number: random_integer(key_of(seed, _POSES, number)))
        return finish(order.stream(n, batch_size), seeds)

    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return register_restart(finish(order.once(batch_size), seeds), restart)


def redraw(sources: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
    """Draws a batch of source digits in random poses.

    Args:
        sources: `(batch, 8, 8)`, float32.
        seed: One int64.

    Returns:
        Images `(batch, 32, 32, 1)`, and angle, scale and position by name.
    """
    uniform = tf.random.stateless_uniform((tf.shape(sources)[0], 4), seed=tf.stack([seed, tf.zeros_like(seed)]))
    angle, scale, position = poses(uniform, tf)
    return draw_batch(sources, angle, scale, position), {"angle": angle, "scale": scale, "position": position}
