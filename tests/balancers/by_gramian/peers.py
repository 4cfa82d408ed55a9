"""Directions that other libraries printed in float64, which lie beside the repository, where they do."""

import numpy as np
import tensorflow as tf
from balancers.by_gramian import golden
from keras import ops


def errors(balancer_of, file, key, factor=1.0, in_graph=False):
    """Relative error of the direction on each case with a finite, non-zero answer and no zero gradient.

    Args:
        balancer_of: Makes the balancer from the number of tasks.
        file: Name of the golden file.
        key: Of the direction.
        factor: Of ours, a number or `"count"`.
        in_graph: Whether a graph is made for each number of tasks: of many iterations each costs more without. Only for
            a balancer without a memory.
    """
    known, found, directions = np.load(golden.FOLDER / f"{file}.npz"), {}, {}
    for title in known["cases"]:
        rows = known[f"{title}/J"]
        lengths = np.linalg.norm(rows, axis=1)
        expected = known[f"{title}/{key}"] if f"{title}/{key}" in known and lengths.all() else np.array(np.nan)
        if np.isfinite(expected).all() and np.linalg.norm(expected) > 1e-6 * lengths.min():
            count = len(rows)
            if in_graph and count not in directions:
                signature = [tf.TensorSpec((count, None))]
                directions[count] = tf.function(balancer_of(count).combine, signature, autograph=False)
            # A balancer with a memory begins anew with each case.
            combine = directions[count] if in_graph else balancer_of(count).combine
            direction = np.asarray(combine(ops.array(rows, dtype="float32")))
            scale = count if factor == "count" else factor
            found[str(title)] = np.linalg.norm(scale * direction - expected) / np.linalg.norm(expected)
    return found


def padded(orders):
    """Orders of the others `(K, K - 1)` as orders of all tasks: each meets itself first, which does nothing."""
    return np.concatenate([np.arange(len(orders))[:, None], orders], axis=1)
