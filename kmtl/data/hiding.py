"""Takes labels away at random, to train as if they had never been given."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, near, require
from kmtl.data.dataset_labels import dataset_label

_OWNER = "hide_labels"


def hide_labels(dataset: tf.data.Dataset, share: float | Mapping[str, float], *, seed: int = 0) -> tf.data.Dataset:
    """Makes a share of each task's labels missing, each task on its own and the same ones every epoch.

    Which examples lose a label depends on the seed, the task's name and the
    example's place in the dataset, and on nothing else: hide first, shuffle later.

    Args:
        dataset: Unbatched `(x, {task: label})`, with or without weights, of known length.
        share: The share in 0..1 of every task's labels, or one for each task named;
            the others keep theirs. Exactly `round(share * length)` labels go.
        seed: Chooses which.

    Returns:
        The dataset with NaN (float labels) or -1 (integer labels) where hidden.

    Raises:
        ValueError: If a share is outside 0..1, a task is unknown, or the length is not known.

    >>> rows = tf.data.Dataset.from_tensor_slices(([0.0] * 4, {"side": [2, 2, 2, 2], "area": [4.0] * 4}))
    >>> hidden = [labels for _, labels in hide_labels(rows, {"side": 0.5}).as_numpy_iterator()]
    >>> sorted(int(labels["side"]) for labels in hidden), [float(labels["area"]) for labels in hidden]
    ([-1, -1, 2, 2], [4.0, 4.0, 4.0, 4.0])
    """
    names = list(dataset.element_spec[1])
    with Refusals(_OWNER) as refusals:
        check_share(refusals, "share", share, names)
    count = int(dataset.cardinality())
    fix = "Use tf.data.experimental.assert_cardinality, and hide before repeat()."
    require(count >= 0, _OWNER, "dataset", "must have a known length", count, fix)
    hidden = hidden_rows(count, share, names, seed)
    if not hidden:
        return dataset
    pairs = tf.data.Dataset.zip((dataset, tf.data.Dataset.from_tensor_slices(hidden)))
    return pairs.map(_without, num_parallel_calls=tf.data.AUTOTUNE)


def check_share(refusals: Refusals, argument: str, share: Any, names: list[str]) -> None:
    """Records every share that is not in 0..1 and every task that the dataset does not have."""
    for name, value in share.items() if isinstance(share, Mapping) else [("", share)]:
        if name and name not in names:
            refusals.add(argument, "must name labels of the dataset", name, near(str(name), names))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            refusals.add(argument, "must be a share in 0..1", {name: value} if name else value)


def hidden_rows(count: int, share: float | Mapping[str, float], names: list[str], seed: int) -> dict[str, Any]:
    """Draws which rows lose which label.

    Args:
        count: Number of examples.
        share: As in `hide_labels`.
        names: The dataset's tasks.
        seed: Chooses which.

    Returns:
        For each task that loses labels, True where hidden, `(count,)`.
    """
    shares = share if isinstance(share, Mapping) else dict.fromkeys(names, share)
    return {name: _draw_rows(count, value, name, seed) for name, value in shares.items() if value > 0}


def _without(example: Any, hidden: Any) -> tuple[Any, ...]:
    """Blanks the labels of one example, and keeps its weights if it has any."""
    x, labels, *weights = example
    return (x, blank(labels, hidden), *weights)


def _draw_rows(count: int, share: float, name: str, seed: int) -> Any:
    """Marks exactly the share of rows; a task's name has draws of its own."""
    lots = np.random.default_rng([seed, zlib.crc32(name.encode())]).random(count)
    hidden = np.zeros(count, bool)
    hidden[np.argsort(lots)[: round(share * count)]] = True
    return hidden


def blank(labels: Mapping[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the missing value where `hidden` says so, for one example or for a batch.

    Args:
        labels: Tensors `(..., *label shape)` by task.
        hidden: Booleans `(...)`, for some of the tasks.

    Returns:
        The labels, in their order.
    """
    return {
        name: _blank_label(name, label, hidden[name]) if name in hidden else label for name, label in labels.items()
    }


def _blank_label(name: str, label: Any, hidden: Any) -> Any:
    """Replaces hidden labels by NaN or -1."""
    missing = tf.constant(dataset_label(name, label.dtype).missing, label.dtype)
    expanded = tf.reshape(hidden, [*tf.unstack(tf.shape(hidden)), *[1] * (label.shape.rank - hidden.shape.rank)])
    return tf.where(expanded, missing, label)
