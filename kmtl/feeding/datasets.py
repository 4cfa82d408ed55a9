"""Streams of batches that TensorFlow makes: tf.data."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.feeding.arrays import Feed
from kmtl.feeding.batch_checks import bad_batches_refused, mark_of, refused
from kmtl.feeding.batches import check_keys
from kmtl.feeding.errors import elements_of
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.label_statistics import DataStatistics, check_statistics
from kmtl.feeding.resume import stream_from, transform_stream
from kmtl.tasks import Task

_COMPLETED, _CHECKED = "completed_by_kmtl", "checked_by_kmtl"


def is_dataset(data: Any) -> bool:
    """Whether it is a tf.data.Dataset."""
    return isinstance(data, tf.data.Dataset)


def size_of(data: Any) -> float | None:
    """Number of elements of a dataset, infinity for one without end, None if unknown."""
    size = int(data.cardinality())
    return {tf.data.INFINITE_CARDINALITY: math.inf, tf.data.UNKNOWN_CARDINALITY: None}.get(size, size)


def is_distributed(data: Any) -> bool:
    """Whether it is a dataset that a strategy has distributed."""
    return isinstance(data, tf.distribute.DistributedDataset)


class DatasetFeed(Feed):
    """A tf.data.Dataset of batches.

    Args:
        x: The dataset, its labels complete.
        tasks: The tasks by name.
        source: The dataset as the user gave it.

    Attributes:
        owner: Who was given it, for the messages.
        unchecked: The same dataset without what stops it at a bad batch: a look tells more.
    """

    owner = "fit"

    def __init__(self, x: Any, tasks: Mapping[str, Task], source: Any) -> None:
        super().__init__(x, source=source)
        self.tasks, self.unchecked = tasks, x

    @classmethod
    def checked(
        cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool, form: InputForm | None, values: bool
    ) -> "DatasetFeed":
        """Checks the element's structure and fills absent tasks as missing."""
        with Refusals(owner) as refusals:
            spec = _checked_spec(refusals, x, tasks, all_needed=all_needed, form=form)
        complete = _completing(spec, tasks)
        given = cls(_completed(x, complete, tasks), tasks, x)
        given.owner = owner
        given.absent = frozenset(name for name in tasks if name not in spec[1])
        if values:
            given.x = _checked_values(x, complete, tasks, mark_of(given.unchecked))
        return given

    @property
    def size(self) -> float | None:
        """Number of batches, infinity for a dataset without end, None if unknown."""
        return size_of(self.x)

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:
        """Yields the elements from the start."""
        data = self.unchecked if limit is None else self.unchecked.take(limit)
        return elements_of(data, self.source)

    def explain(self, error: BaseException) -> BaseException:
        """Returns a clearer error for one met while reading it, or the same.

        A batch that was refused, or a class out of range that stopped a step somewhere inside of TensorFlow, is told
        as the look that was left out would have told it.
        """
        error = super().explain(error)
        if not isinstance(error, tf.errors.InvalidArgumentError):
            return error
        # Of what gives other batches each time, or never ends, only that a batch was bad is known.
        clearer = refused(error, self.unchecked, self.tasks, self.owner) or error
        if self.size == math.inf:
            return clearer
        try:
            check_statistics(DataStatistics.of(self.tasks, self.batches(None)), (), self.owner, all_needed=False)
        except ValueError as found:
            return found
        except tf.errors.OpError:
            return clearer
        return clearer

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        if not tables:
            return self

        def add(x: Any, y: Any, weights: Any = None) -> Any:
            result = dict(weights or {})
            for name, table in tables.items():
                task = self.tasks[name]
                # One weight an example, or one a place of it.
                labels = y[name] if task.dense_axes else tf.reshape(y[name], (-1,))
                present = task.present(labels)
                by_class = tf.where(present, tf.gather(tf.constant(table), tf.where(present, labels, 0)), 1.0)
                given = task.shaped_weights(tf.cast(result[name], by_class.dtype)) if name in result else 1.0
                result[name] = by_class * given
            return x, y, result

        changed = transform_stream(self.x, lambda data: data.map(add, num_parallel_calls=tf.data.AUTOTUNE))
        weighed = DatasetFeed(changed, self.tasks, self.source)
        weighed.absent, weighed.owner, weighed.unchecked = self.absent, self.owner, self.unchecked
        return weighed

    def stream_from(self, first: int, *, batch_size: int | None, shuffle: bool, seed: int) -> Feed:
        """The dataset's own stream, in its own order."""
        del batch_size, shuffle, seed
        return Feed(stream_from(self.x, first), source=self.source)


def _checked_spec(
    refusals: Refusals, data: Any, tasks: Mapping[str, Task], *, all_needed: bool, form: InputForm | None
) -> Any:
    """Records what is wrong with the elements of a dataset; returns their spec."""
    spec = data.element_spec
    if not isinstance(spec, tuple) or len(spec) not in {2, 3}:
        refusals.add("x", "must yield (x, {task: label}) or with a third part, weights", words(str(spec)))
        return spec
    if refuse_single(refusals, "x", data, tasks):
        return spec
    if form is not None:
        form.check(refusals, spec[0])
    if check_keys(refusals, "y", spec[1], tasks, all_needed=all_needed):
        for name, task in tasks.items():
            if name in spec[1]:
                _check_label_spec(refusals, task, spec[1][name])
    if len(spec) == 3:
        _check_weight_spec(refusals, tasks, spec[2])
    return spec


def _check_weight_spec(refusals: Refusals, tasks: Mapping[str, Task], spec: Any) -> None:
    """Records weights that are neither one tensor nor a dict by task."""
    if isinstance(spec, Mapping):
        check_keys(refusals, "sample_weight", spec, tasks, all_needed=False)
    elif isinstance(spec, list | tuple):
        refusals.add("sample_weight", "must be one tensor or a dict keyed by task name", words("a sequence"))


def refuse_endless(refusals: Refusals, argument: str, data: Any) -> None:
    """Records a dataset without an end; what was refused before, None, is left alone."""
    if data is not None and size_of(data) == math.inf:
        fix = "Take the batches of an epoch: dataset.take(steps)."
        refusals.add(argument, "must have an end", words("an endless set"), fix)


def refuse_single(refusals: Refusals, argument: str, data: Any, tasks: Mapping[str, Task]) -> bool:
    """Records a dataset of single examples; tells whether it is one."""
    spec = data.element_spec
    found = isinstance(spec, tuple) and len(spec) > 1 and any(_is_single(spec[1], *item) for item in tasks.items())
    if found:
        refusals.add(argument, "must yield batches", words("single examples"), "Call dataset.batch(...).")
    return found


def _is_single(labels: Any, name: str, task: Task) -> bool:
    """Whether a label's spec has the shape of one example's."""
    shape = getattr(labels.get(name), "shape", None) if isinstance(labels, Mapping) else None
    if shape is None or shape.rank != len(task.label_shape):
        return False
    return all(wanted in (None, size) for size, wanted in zip(shape, task.label_shape, strict=True))


def _check_label_spec(refusals: Refusals, task: Task, spec: Any) -> None:
    """Records labels of a wrong kind, dtype or shape; an unknown rank is left to the look at the values."""
    if not isinstance(spec, tf.TensorSpec):
        refusals.add(f"y[{task.name!r}]", "must be a dense tensor", words(type(spec).__name__))
        return
    shape = tuple(spec.shape) if spec.shape.rank is not None else (None, *task.label_shape)
    task.check_labels(refusals, "y", spec.dtype.as_numpy_dtype, shape)


def _completing(spec: Any, tasks: Mapping[str, Task]) -> Callable[..., Any] | None:
    """Casts labels, fills absent tasks and spreads one weight over the tasks; None where all of that is done."""
    weights = spec[2] if len(spec) == 3 else None
    fine = all(name in spec[1] and _is_fine(spec[1][name], task) for name, task in tasks.items())
    if fine and (weights is None or (isinstance(weights, Mapping) and not _lacks_axes(weights, tasks))):
        return None

    def complete(x: Any, y: Any, given: Any = None) -> Any:
        labels = {name: _label(x, y.get(name), task) for name, task in tasks.items()}
        if given is None:
            return x, labels
        spread = given if isinstance(given, Mapping) else dict.fromkeys(tasks, given)
        dense = {name: tasks[name].shaped_weights(value) for name, value in spread.items() if tasks[name].dense_axes}
        return x, labels, {**spread, **dense}

    return complete


def _completed(data: Any, complete: Callable[..., Any] | None, tasks: Mapping[str, Task]) -> Any:
    """The dataset with its labels complete."""
    return data if complete is None else _mapped(data, _COMPLETED, tasks, complete)


def _checked_values(data: Any, complete: Callable[..., Any] | None, tasks: Mapping[str, Task], mark: str) -> Any:
    """The same that stops at a bad batch; one map does both, since each costs milliseconds an iterator."""
    check = bad_batches_refused(tasks, mark)
    return _mapped(data, _CHECKED, tasks, check if complete is None else lambda *batch: check(*complete(*batch)))


def _mapped(data: Any, key: str, tasks: Mapping[str, Task], change: Callable[..., Any]) -> Any:
    """A dataset of changed batches, which takes up its stream as the given one does."""
    return _kept(
        data,
        key,
        list(tasks.values()),
        lambda: transform_stream(data, lambda batches: batches.map(change, num_parallel_calls=tf.data.AUTOTUNE)),
    )


def _kept(data: Any, key: str, tasks: list[Task], make: Callable[[], Any]) -> Any:
    """What was made of a dataset for some tasks, made once: tf.data traces a function whenever it maps one.

    It is kept with the dataset itself. It holds on to the dataset, so that a table of them would free neither.
    """
    known, made = getattr(data, key, ([], None))
    if len(known) != len(tasks) or any(one is not other for one, other in zip(known, tasks, strict=True)):
        made = make()
        setattr(data, key, (tasks, made))
    return made


def _lacks_axes(weights: Mapping[str, Any], tasks: Mapping[str, Task]) -> bool:
    """Whether weights of a task on a map or a sequence have no axis for its places."""
    return any(
        tasks[name].dense_axes and spec.shape.rank != 1 + tasks[name].dense_axes for name, spec in weights.items()
    )


def _is_fine(spec: Any, task: Task) -> bool:
    """Whether labels are in the task's form already."""
    return spec.dtype.name == task.label_dtype and (spec.shape.rank is not None or None not in task.label_shape)


def _label(inputs: Any, label: Any, task: Task) -> Any:
    """One task's labels in its dtype, all missing where the dataset has none."""
    if label is not None:
        return task.cast_label_tensor(label)
    return task.absent_label_tensor(tf.shape(keras.tree.flatten(inputs)[0])[0])
