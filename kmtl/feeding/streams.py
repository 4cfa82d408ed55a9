"""Streams of batches: tf.data, PyDataset, generators."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, refusal, words
from kmtl.feeding.batches import complete_batch, with_class_weights
from kmtl.feeding.feeds import Feed
from kmtl.feeding.structure import check_keys, check_label
from kmtl.tasks import Task

# A generator cannot be rewound: this many of its batches are kept back for the checks and statistics.
_PEEK = 16


def is_dataset(data: Any) -> bool:
    """Whether it is a tf.data.Dataset."""
    return isinstance(data, tf.data.Dataset)


def is_distributed(data: Any) -> bool:
    """Whether it is a dataset that a strategy has distributed."""
    return isinstance(data, tf.distribute.DistributedDataset)


class DatasetFeed(Feed):
    """A tf.data.Dataset of batches."""

    is_shuffled_by_keras = False

    @classmethod
    def checked(cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool) -> "DatasetFeed":
        """Checks the element's structure and fills absent tasks as missing."""
        with Refusals(owner) as refusals:
            spec = _checked_spec(refusals, x, tasks, all_needed=all_needed)
        return cls(_completed(x, spec, tasks))

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yields `(inputs, labels)` from the start."""
        data = self.x if limit is None else self.x.take(limit)
        return ((element[0], element[1]) for element in data.as_numpy_iterator())

    def is_complete(self, limit: int | None) -> bool:
        """Whether the limit, if any, is known to be past the end."""
        size = int(self.x.cardinality())
        return limit is None or 0 <= size <= limit

    @property
    def is_infinite(self) -> bool:
        """Whether it never ends."""
        return int(self.x.cardinality()) == tf.data.INFINITE_CARDINALITY

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        if not tables:
            return self

        def add(x: Any, y: Any, weights: Any = None) -> Any:
            result = dict(weights or {})
            for name, table in tables.items():
                flat = tf.reshape(y[name], (-1,))
                by_class = tf.where(flat >= 0, tf.gather(tf.constant(table), tf.maximum(flat, 0)), 1.0)
                result[name] = by_class * tf.reshape(result[name], (-1,)) if name in result else by_class
            return x, y, result

        return DatasetFeed(self.x.map(add, num_parallel_calls=tf.data.AUTOTUNE))


def _checked_spec(refusals: Refusals, data: Any, tasks: Mapping[str, Task], *, all_needed: bool) -> Any:
    """Records what is wrong with the elements of a dataset; returns their spec."""
    spec = data.element_spec
    if not isinstance(spec, tuple) or len(spec) not in {2, 3}:
        refusals.add("x", "must yield (x, {task: label}) or with a third part, weights", words(str(spec)))
        return spec
    if check_keys(refusals, "y", spec[1], tasks, all_needed=all_needed):
        for name, task in tasks.items():
            if name in spec[1]:
                shape = tuple(spec[1][name].shape) if spec[1][name].shape.rank is not None else (None,)
                _check_batched(refusals, name, task, shape)
                check_label(refusals, "y", task, spec[1][name].dtype.as_numpy_dtype, shape)
    if len(spec) == 3 and isinstance(spec[2], Mapping):
        check_keys(refusals, "sample_weight", spec[2], tasks, all_needed=False)
    elif len(spec) == 3 and isinstance(spec[2], list | tuple):
        refusals.add("sample_weight", "must be one tensor or a dict keyed by task name", words("a sequence"))
    return spec


def _check_batched(refusals: Refusals, name: str, task: Task, shape: tuple[int | None, ...]) -> None:
    """Records a dataset of single examples."""
    if shape == task.label_shape:
        refusals.add("x", "must yield batches", words(f"single labels of {name!r}"), "Call dataset.batch(...).")


def _completed(data: Any, spec: Any, tasks: Mapping[str, Task]) -> Any:
    """Casts labels, fills absent tasks and spreads one weight over the tasks; a dataset that is fine stays as it is."""
    weights = spec[2] if len(spec) == 3 else None
    fine = all(name in spec[1] and spec[1][name].dtype.name == task.label_dtype for name, task in tasks.items())
    if fine and (weights is None or isinstance(weights, Mapping)):
        return data

    def complete(x: Any, y: Any, given: Any = None) -> Any:
        labels = {name: _label(x, y.get(name), task) for name, task in tasks.items()}
        if given is None:
            return x, labels
        return x, labels, given if isinstance(given, Mapping) else dict.fromkeys(tasks, given)

    return data.map(complete, num_parallel_calls=tf.data.AUTOTUNE)


def _label(inputs: Any, label: Any, task: Task) -> Any:
    """One task's labels in its dtype, all missing where the dataset has none."""
    if label is not None:
        return tf.cast(label, task.label_dtype)
    batch = tf.shape(keras.tree.flatten(inputs)[0])[0]
    missing = tf.constant(task.missing, dtype=task.label_dtype)
    return tf.fill([batch, *task.label_shape], missing)


class _Completed(keras.utils.PyDataset):
    """A PyDataset whose batches are checked and completed as they come."""

    def __init__(self, data: Any, complete: Any) -> None:
        super().__init__(
            workers=data.workers,
            use_multiprocessing=data.use_multiprocessing,
            max_queue_size=data.max_queue_size,
        )
        self.data = data
        self.complete = complete

    @property
    def num_batches(self) -> Any:
        """As many as the wrapped one has."""
        return self.data.num_batches

    def __len__(self) -> int:
        return self.data.num_batches

    def __getitem__(self, index: int) -> Any:
        return self.complete(self.data[index])

    def on_epoch_begin(self) -> None:
        """Passes the event on."""
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Passes the event on."""
        self.data.on_epoch_end()


class _Complete:
    """Checks and completes one batch of a Python stream; a class, so that worker processes can pickle it."""

    def __init__(self, tasks: Mapping[str, Task], owner: str, tables: Mapping[str, Any], *, all_needed: bool) -> None:
        self.tasks = dict(tasks)
        self.owner = owner
        self.tables = dict(tables)
        self.all_needed = all_needed

    def __call__(self, batch: Any) -> Any:
        x, y, weights = self._unpacked(batch)
        rows = len(keras.tree.flatten(x)[0])
        labels, given = complete_batch(y, weights, self.tasks, self.owner, all_needed=self.all_needed, rows=rows)
        given = with_class_weights(labels, given, self.tables)
        return (x, labels, given) if given else (x, labels)

    def _unpacked(self, batch: Any) -> tuple[Any, Any, Any]:
        """Splits a batch into inputs, labels and weights, or refuses it."""
        if not isinstance(batch, tuple) or len(batch) not in {2, 3}:
            got = words(type(batch).__name__)
            rule = "must yield tuples (x, {task: label}) or with a third part, weights"
            raise ValueError(refusal(self.owner, "x", rule, got))
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None

    def with_tables(self, tables: Mapping[str, Any]) -> "_Complete":
        """The same with class weights."""
        return _Complete(self.tasks, self.owner, tables, all_needed=self.all_needed)


class PyDatasetFeed(Feed):
    """A keras.utils.PyDataset."""

    @classmethod
    def checked(cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool) -> "PyDatasetFeed":
        """Wraps it so that every batch is completed."""
        return cls(_Completed(x, _Complete(tasks, owner, {}, all_needed=all_needed)))

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yields `(inputs, labels)` from the start."""
        size = self.x.num_batches if limit is None else min(limit, self.x.num_batches)
        return ((batch[0], batch[1]) for batch in (self.x[index] for index in range(size)))

    def is_complete(self, limit: int | None) -> bool:
        """Whether the limit, if any, is past the end."""
        return limit is None or self.x.num_batches <= limit

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        return PyDatasetFeed(_Completed(self.x.data, self.x.complete.with_tables(tables)))


class GeneratorFeed(Feed):
    """A Python generator, whose keys may differ from batch to batch; its first batches are looked at and kept."""

    is_rewindable = False
    is_shuffled_by_keras = False

    def __init__(self, x: Any, complete: _Complete) -> None:
        super().__init__(x)
        self.complete = complete

    @classmethod
    def checked(cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool) -> "GeneratorFeed":
        """Wraps it so that every batch is completed; a key may come and go, so none is needed in each."""
        del all_needed
        return cls(iter(x), _Complete(tasks, owner, {}, all_needed=False))

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yields the first batches and puts them back in front."""
        seen = list(itertools.islice(self.x, min(limit or _PEEK, _PEEK)))
        self.x = itertools.chain(seen, self.x)
        return ((batch[0], batch[1]) for batch in map(self.complete, seen))

    def is_complete(self, limit: int | None) -> bool:  # noqa: ARG002 - the end cannot be seen
        """The rest is unknown."""
        return False

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed as Keras takes it: completed batches, with class weights."""
        return _Stream(map(self.complete.with_tables(tables), self.x))


class _Stream(Feed):
    """Completed batches, once."""

    is_rewindable = False
    is_shuffled_by_keras = False
