"""What may be split: how many rows it has, the labels among them, and how some of its rows are taken."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.data.dataset_labels import label_specs
from kmtl.data.shards.blocks import is_batched
from kmtl.feeding.errors import elements_of, share_explanation

OWNER = "split"
_READ = 256


class Holding(NamedTuple):
    """A set of rows.

    Attributes:
        rows: How many.
        columns: Labels by name, a mapping or a frame.
        of_labels: Whether the columns are labels all, and no inputs.
        take: Gives the rows where an array of booleans holds, in their order and in the form that was given.
    """

    rows: int
    columns: Any
    of_labels: bool
    take: Callable[[Any], Any]


def holding(data: Any) -> Holding:
    """Looks at what a user gave.

    Raises:
        ValueError: If its parts have different numbers of rows, or it has no row.
    """
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(data)
    pair = isinstance(data, tuple) and len(data) in (2, 3)
    columns = data[1] if pair else data
    if not hasattr(columns, "columns") and not isinstance(columns, Mapping):
        columns = {"y": columns} if pair else {}
    lengths = {place: len(part) if np.ndim(part) or hasattr(part, "iloc") else 0 for place, part in _leaves(data)}
    rows = next(iter(lengths.values()), 0)
    with Refusals(OWNER) as refusals:
        for place, length in lengths.items():
            if length != rows:
                refusals.add(place, f"must have {rows} rows, as many as the first part", length)
        if rows == 0:
            refusals.add("data", "must hold at least one row", 0)
    return Holding(rows, columns, pair, lambda mask: _taken(data, mask))


def _leaves(data: Any, place: str = "data") -> Iterator[tuple[str, Any]]:
    """Every array or frame with its place."""
    if isinstance(data, Mapping | tuple):
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        for key, part in items:
            yield from _leaves(part, f"{place}[{key!r}]")
    elif data is not None:
        yield place, data


def _taken(data: Any, mask: Any) -> Any:
    """Some rows of each array or frame."""
    if isinstance(data, Mapping):
        return {name: _taken(part, mask) for name, part in data.items()}
    if isinstance(data, tuple):
        return tuple(_taken(part, mask) for part in data)
    if hasattr(data, "iloc"):
        return data.iloc[np.flatnonzero(mask)]
    return None if data is None else (data if np.ma.isMaskedArray(data) else np.asarray(data))[mask]


def _of_dataset(dataset: Any) -> Holding:
    """Reads the labels of a dataset once; its parts are read off it, and refuse another order."""
    specs = label_specs(OWNER, dataset)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        with Refusals(OWNER) as refusals:
            refusals.add("data", "must have an end", words("a dataset without"), "Split before repeat().")
    batched = is_batched(dataset)
    batch_size = _batch_size(dataset) if batched else None
    single = dataset.unbatch() if batched else dataset
    labelled = single.map(lambda _, labels, *__: (labels, _checksum(labels))).batch(_READ)
    read = list(elements_of(labelled, dataset))
    with Refusals(OWNER) as refusals:
        if not read:
            refusals.add("data", "must hold at least one row", 0)
    labels = {name: np.concatenate([block[name] for block, _ in read]) for name in specs}
    checksums = np.concatenate([sums for _, sums in read])

    def take(mask: Any) -> Any:
        return share_explanation(dataset, _selected(single, mask, checksums, batch_size))

    return Holding(len(checksums), labels, True, take)


def _batch_size(dataset: Any) -> int:
    """Examples in the first batch."""
    return next((len(tf.nest.flatten(element)[0]) for element in elements_of(dataset.take(1), dataset)), 1)


def _selected(single: Any, mask: Any, checksums: Any, batch_size: int | None) -> Any:
    """The examples of a dataset where a mask holds."""
    with tf.device("CPU"):
        chosen, known = tf.constant(mask), tf.constant(checksums)

    def verified(place: Any, element: Any) -> Any:
        fix = "Give the same order at every pass: split first, shuffle later."
        message = f"{OWNER}: `data` came in another order than when it was split. {fix}"
        tf.debugging.assert_equal(_checksum(element[1]), known[place], message=message)
        return element

    found = single.enumerate().filter(lambda place, _: chosen[place]).map(verified)
    counted = found.apply(tf.data.experimental.assert_cardinality(int(mask.sum())))
    return (counted if batch_size is None else counted.batch(batch_size)).prefetch(tf.data.AUTOTUNE)


def _checksum(labels: Mapping[str, Any]) -> Any:
    """A number that tells one example's labels from those of most others."""
    total = tf.constant(0.0, tf.float64)
    for place, name in enumerate(sorted(labels)):
        values = tf.reshape(tf.cast(labels[name], tf.float64), [-1])
        weights = tf.cast(tf.range(tf.size(values)) % 89 + 97 * place + 1, tf.float64)
        total += tf.reduce_sum(tf.where(tf.math.is_finite(values), values, 0.5) * weights)
    return total
