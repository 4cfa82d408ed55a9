"""The labels of a dataset: where they stand in its elements, and what is known of each without its task."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from kmtl._checks import Refusals, near, words
from kmtl.tasks.labels import Label


class FloatLabel(Label):
    """A float label of which no task is known.

    Args:
        name: Name of the task.
        shape: Shape of one label.
    """

    def __init__(self, name: str, shape: Sequence[int | None]) -> None:
        self.name = name
        self.shape = tuple(shape)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Shape of one label."""
        return self.shape


class WholeLabel(FloatLabel):
    """A label of whole numbers of which no task is known."""

    label_dtype: ClassVar[str] = "int32"


def dataset_label(name: str, dtype: tf.DType, shape: Sequence[int | None] = ()) -> Label:
    """What a dataset's dtype tells of a label.

    >>> dataset_label("digit", tf.int64).missing
    -1
    """
    return (FloatLabel if dtype.is_floating else WholeLabel)(name, shape)


def carries_label(label: Label, value: Any) -> Any:
    """Tells whether one example's label has at least one element that is there.

    >>> bool(carries_label(dataset_label("marks", tf.int32), tf.constant([-1, 0])))
    True
    """
    return tf.reduce_any(label.present(value))


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
