"""What the labels of a dataset look like, and which of them are there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, near, words
from kmtl.tasks import Task


@dataclass(frozen=True)
class LabelForm:
    """Dtype and shape of one task's label in a stream.

    Args:
        dtype: `"int32"` or `"float32"`.
        shape: Shape of one label; `()` is a scalar.
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of_task(cls, task: Task) -> "LabelForm":
        """The form that a task asks for."""
        return cls(task.label_dtype, tuple(task.label_shape))

    def missing(self) -> Any:
        """A label that is not there: -1 or NaN, in this form."""
        value = -1 if self.dtype == "int32" else float("nan")
        return tf.fill(self.shape, tf.constant(value, self.dtype))

    def cast(self, label: Any) -> Any:
        """Gives a label this dtype and its static shape."""
        return tf.ensure_shape(tf.cast(label, self.dtype), self.shape)


def carries_label(label: Any) -> Any:
    """Tells whether one example's label has at least one element that is there.

    >>> bool(carries_label(tf.constant([-1, 0]))), bool(carries_label(tf.constant(float("nan"))))
    (True, False)
    """
    here = tf.math.logical_not(tf.math.is_nan(label)) if label.dtype.is_floating else label >= 0
    return tf.reduce_any(here)


def names_of(tasks: str | Task | Iterable[str | Task]) -> list[str]:
    """Names of tasks given as names or as tasks, one or several.

    >>> names_of("digit"), names_of(["digit", "angle"])
    (['digit'], ['digit', 'angle'])
    """
    listed = [tasks] if isinstance(tasks, str | Task) else list(tasks)
    return [item.name if isinstance(item, Task) else item for item in listed]


def task_list(refusals: Refusals, tasks: Any) -> list[Task]:
    """Returns tasks as a list, or refuses, at once, what is no task, no tasks, or a name twice.

    Args:
        refusals: Whose owner asks.
        tasks: One task, several, or a mapping of names to them as a model has.

    Returns:
        The tasks, in their order.

    Raises:
        ValueError: With all offenders.
    """
    listed = _listed(tasks)
    seen: set[str] = set()
    for task in listed:
        if not isinstance(task, Task):
            refusals.add("tasks", "must hold kmtl tasks", task, "For example kmtl.Regression('age').")
        elif task.name in seen:
            refusals.add("tasks", "must have different names", task.name)
        else:
            seen.add(task.name)
    if not listed:
        refusals.add("tasks", "must hold at least one task", listed)
    refusals.check()
    return listed


def _listed(tasks: Any) -> list[Any]:
    """One thing or several as a list."""
    if isinstance(tasks, Mapping):
        return list(tasks.values())
    return list(tasks) if isinstance(tasks, Iterable) and not isinstance(tasks, str) else [tasks]


def label_specs(owner: str, dataset: Any) -> dict[str, Any]:
    """Returns the label part of a dataset's element, or refuses another structure.

    Raises:
        TypeError: If `dataset` is no `tf.data.Dataset`.
        ValueError: If its elements are not `(x, {task: label})`, with or without weights.
    """
    if not isinstance(dataset, tf.data.Dataset):
        with Refusals(owner, TypeError) as refusals:
            refusals.add("dataset", "must be a tf.data.Dataset", words(type(dataset).__name__))
    spec = dataset.element_spec
    good = isinstance(spec, tuple) and len(spec) in (2, 3) and isinstance(spec[1], Mapping)
    with Refusals(owner) as refusals:
        if not good:
            fix = "Map it to that form first."
            refusals.add("dataset", "must hold (x, {task: label}) or (x, {task: label}, weights)", spec, fix)
    return dict(spec[1])


def check_known(refusals: Refusals, names: Iterable[str], known: Iterable[str]) -> None:
    """Records every name that the dataset has no labels for, with the near match."""
    listed = list(known)
    for name in names:
        if name not in listed:
            refusals.add("tasks", "must name labels of the dataset", name, near(str(name), listed))
