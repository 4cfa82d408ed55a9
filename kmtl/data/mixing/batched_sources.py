"""Batches as sources of a mix: taken apart, counted, and begun anywhere as their dataset is."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmtl.data.shards.blocks import is_batched
from kmtl.feeding.resume import register_restart, restart_of
from kmtl.tasks import Task


def unbatched(datasets: Any, tasks: Any = None) -> tuple[Any, int | None]:
    """Takes apart the datasets that hold batches.

    Args:
        datasets: Datasets by key, batched or not; what is none is left as it is, to be refused by others.
        tasks: The tasks, which tell a batch of labels from a label with a side of unknown size.

    Returns:
        Datasets of single examples, of known number, and the batch size of the first that was batched, or None.
    """
    if not isinstance(datasets, Mapping):
        return datasets, None
    found, sizes = {}, []
    for key, dataset in datasets.items():
        batched = isinstance(dataset, tf.data.Dataset) and is_batched(dataset) and _fits(key, dataset, tasks)
        counts = _batch_sizes(dataset) if batched and dataset.cardinality() != tf.data.INFINITE_CARDINALITY else []
        found[key] = _single(dataset, counts) if counts else dataset
        sizes += counts[:1]
    return found, sizes[0] if sizes else None


def _fits(key: Any, dataset: Any, tasks: Any) -> bool:
    """Whether labels fit their tasks with a batch axis before them; without tasks they do."""
    listed = [task for task in tasks if isinstance(task, Task)] if isinstance(tasks, Iterable) else []
    known = {task.name: task for task in listed}
    given = dataset.element_spec[1] if isinstance(dataset.element_spec, tuple) and len(dataset.element_spec) > 1 else {}
    labels = given if isinstance(given, Mapping) else {key: given}
    return all(known[name].fits(tuple(spec.shape)) for name, spec in labels.items() if name in known)


def _batch_sizes(dataset: Any) -> list[int]:
    """The size of every batch, by one pass."""
    return [int(size) for size in dataset.map(_size).as_numpy_iterator()]


def _size(*element: Any) -> Any:
    """Examples of one batch."""
    return tf.shape(tf.nest.flatten(element)[0])[0]


def _single(dataset: Any, sizes: list[int]) -> Any:
    """A dataset's examples one by one; where its stream begins anywhere, so does theirs."""
    rows, steps, restart = sum(sizes), len(sizes), restart_of(dataset)
    single = dataset.unbatch().apply(tf.data.experimental.assert_cardinality(rows))
    if restart is None or len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
        return single

    def later(n: Any) -> Any:
        done, place = n // rows, n % rows
        return restart(done * steps + place // sizes[0]).unbatch().skip(place % sizes[0])

    return register_restart(single, later)
