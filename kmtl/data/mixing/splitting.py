"""Fewer tasks out of one dataset: a stream restricted to some, or one stream a task."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals
from kmtl.data.dataset_labels import carries_label, check_known, dataset_label, label_specs
from kmtl.data.task_names import listed_tasks, names_of
from kmtl.feeding.resume import transform_stream
from kmtl.tasks import Task
from kmtl.tasks.labels import Label


def only(dataset: Any, tasks: str | Task | Iterable[str | Task]) -> Any:
    """The same stream with the labels of some tasks only.

    Every example stays, also those whose label is missing, and so do order,
    batches and cardinality: a single-task twin trained on it sees what the
    joint model saw.

    Args:
        dataset: `(x, {task: label})`, or `(x, {task: label}, weights)`; batched or not.
        tasks: The tasks to keep, or their names, in the order wanted; one or several.

    Returns:
        A `tf.data.Dataset` of the same structure with those labels. Sample weights given
        by task are restricted likewise; one weight for all tasks stays.

    Raises:
        TypeError: If `dataset` is no `tf.data.Dataset`.
        ValueError: If it has no dict of labels, or lacks one of the tasks.

    >>> both = tf.data.Dataset.from_tensors((tf.zeros(3), {"digit": 7, "angle": 12.5}))
    >>> [sorted(labels) for _, labels in only(both, "angle")]
    [['angle']]
    """
    known = label_specs("only", dataset)
    names = names_of(tasks)
    _check_names("only", names, known)
    return transform_stream(dataset, lambda given: given.map(lambda *element: _restrict(element, names)))


def split_by_task(
    dataset: Any,
    tasks: str | Task | Iterable[str | Task] | None = None,
    *,
    batched: bool = True,
    batch_size: int | None = None,
    count: bool = False,
) -> dict[str, Any]:
    """One dataset a task out of one dataset: the inverse of `mix`.

    Each part holds, in the same order, the examples that carry the task's label:
    those where at least one element of it is there (not -1, not NaN). A part's
    cardinality is unknown to tf.data until it is counted; `mix` with proportional
    or annealed sampling needs it.

    Args:
        dataset: `(x, {task: label})`, or `(x, {task: label}, weights)`.
        tasks: The tasks to part, or their names; None for every label of the dataset.
        batched: Whether `dataset` is batched; the parts then are batched too.
        batch_size: Examples a batch of the parts. None takes the batch size of `dataset`; where its
            static shape does not tell, by the length of its first batch, which is read for it.
        count: Read the dataset once, now, and give each part its exact cardinality. Needs a finite dataset.

    Returns:
        A dict of task name to a `tf.data.Dataset` of `(x, {task: label})`, with weights if they were there.

    Raises:
        TypeError: If `dataset` is no `tf.data.Dataset`.
        ValueError: If it lacks a task, is infinite and to be counted, or is empty.

    >>> labels = {"digit": [7, -1, 3], "angle": [float("nan"), 12.5, 40.0]}
    >>> both = tf.data.Dataset.from_tensor_slices(([[0.0], [1.0], [2.0]], labels)).batch(2)
    >>> parts = split_by_task(both)
    >>> [(x.numpy().ravel().tolist(), y["angle"].numpy().tolist()) for x, y in parts["angle"]]
    [([1.0, 2.0], [12.5, 40.0])]
    """
    owner = "split_by_task"
    known = label_specs(owner, dataset)
    given = list(known) if tasks is None else listed_tasks(tasks)
    names = names_of(given)
    _check_names(owner, names, known)
    labels = {
        name: task if isinstance(task, Task) else dataset_label(name, known[name].dtype)
        for name, task in zip(names, given, strict=True)
    }
    _check_options(owner, dataset, batched, batch_size, count)
    size = (batch_size or _batch_size(owner, dataset)) if batched else None
    examples = dataset.unbatch() if batched else dataset
    counts = _counts(examples, labels) if count else dict.fromkeys(names)
    return {name: _part(examples, label, size, counts[name]) for name, label in labels.items()}


def _check_names(owner: str, names: list[str], known: Mapping[str, Any]) -> None:
    """Refuses no name at all, and every name without labels."""
    with Refusals(owner) as refusals:
        if not names:
            refusals.add("tasks", "must name at least one task", names)
        check_known(refusals, names, known)


def _check_options(owner: str, dataset: Any, batched: bool, batch_size: int | None, count: bool) -> None:
    """Refuses options that contradict the dataset or each other."""
    infinite = dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    with Refusals(owner) as refusals:
        if batch_size is not None and not batched:
            refusals.add("batch_size", "must be None for a dataset without batches", batch_size, "Batch the parts.")
        if batch_size is not None and batch_size < 1:
            refusals.add("batch_size", "must be at least 1", batch_size)
        if count and infinite:
            refusals.add(
                "count", "must be False for an infinite dataset", count, "Take a finite part: dataset.take(n)."
            )


def _restrict(element: tuple[Any, ...], names: list[str]) -> tuple[Any, ...]:
    """One element with the labels, and the weights by task, of some tasks."""
    x, labels, *weights = element
    kept = [{name: item[name] for name in names} if isinstance(item, Mapping) else item for item in weights]
    return (x, {name: labels[name] for name in names}, *kept)


def _batch_size(owner: str, dataset: Any) -> int:
    """The length of a batch, from the static shape or else from the first batch."""
    labels = dataset.element_spec[1]
    static = [spec.shape[0] for spec in labels.values() if spec.shape.rank]
    if not static:
        with Refusals(owner) as refusals:
            refusals.add("batched", "must be False for a dataset without batches", True)
    if static[0] is not None:
        return int(static[0])
    for _, first, *_ in dataset.take(1):
        return int(tf.shape(next(iter(first.values())))[0])
    with Refusals(owner) as refusals:
        refusals.add("dataset", "must hold at least one batch", 0)
    return 0


def _counts(examples: Any, known: Mapping[str, Label]) -> dict[str, int]:
    """Counts the labelled examples of every task in one pass."""

    def add(counts: Any, _: Any, labels: Any, *__: Any) -> Any:
        return counts + tf.stack(
            [tf.cast(carries_label(label, labels[name]), tf.int64) for name, label in known.items()]
        )

    totals = examples.reduce(tf.zeros(len(known), tf.int64), lambda counts, element: add(counts, *element))
    return dict(zip(known, map(int, totals), strict=True))


def _part(examples: Any, label: Label, size: int | None, count: int | None) -> Any:
    """The examples of one task, batched again if a size is given."""
    part = only(examples.filter(lambda _, labels, *__: carries_label(label, labels[label.name])), label.name)
    if count is not None:
        part = part.apply(tf.data.experimental.assert_cardinality(count))
    return part if size is None else part.batch(size)
