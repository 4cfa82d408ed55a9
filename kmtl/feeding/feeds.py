"""What `fit`, `evaluate` and their kin accept, each kind behind one face."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import refusal, words
from kmtl.feeding.batches import complete_batch, with_class_weights
from kmtl.feeding.structure import as_mapping
from kmtl.tasks import Task


class Feed:
    """Checked data in the form that Keras's `fit` takes it.

    Attributes:
        x: Inputs, or the whole stream.
        y: `{task: labels}` for arrays, None for a stream.
        sample_weight: `{task: weights}` or None.
        is_rewindable: Whether a pass over it leaves it whole.
        is_shuffled_by_keras: Whether `shuffle=True` means anything to Keras; of a stream it warns.
    """

    is_rewindable = True
    is_shuffled_by_keras = True

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.x = x
        self.y = y
        self.sample_weight = sample_weight or None

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yields `(inputs, labels)` for the census, at most `limit` batches."""
        raise NotImplementedError

    def is_complete(self, limit: int | None) -> bool:
        """Whether `batches(limit)` is all of the data."""
        raise NotImplementedError

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        raise NotImplementedError


class ArraysFeed(Feed):
    """NumPy arrays, tensors and pandas frames."""

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:  # noqa: ARG002 - all is at hand
        """Yields everything as one batch."""
        yield self.x, self.y

    def is_complete(self, limit: int | None) -> bool:  # noqa: ARG002 - all is at hand
        """Arrays are seen whole."""
        return True

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        return ArraysFeed(self.x, self.y, with_class_weights(self.y, self.sample_weight or {}, tables))

    def split(self, share: float) -> tuple["ArraysFeed", "ArraysFeed"]:
        """Cuts the last share off for validation, as Keras does."""
        cut = int(np.floor(_length(self.x) * (1.0 - share)))
        pick = keras.tree.map_structure
        parts = [
            ArraysFeed(
                pick(lambda a, where=where: a[where], self.x),
                pick(lambda a, where=where: a[where], self.y),
                pick(lambda a, where=where: a[where], self.sample_weight) if self.sample_weight else None,
            )
            for where in (slice(0, cut), slice(cut, None))
        ]
        return parts[0], parts[1]


def _length(inputs: Any) -> int:
    """Number of examples of the inputs."""
    arrays = keras.tree.flatten(inputs)
    return len(arrays[0]) if arrays and np.ndim(arrays[0]) else 0


def arrays_feed(
    x: Any, y: Any, sample_weight: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool
) -> ArraysFeed:
    """Checks and completes in-memory data.

    Raises:
        ValueError: With all offenders.
    """
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        x = x.to_numpy()
    x = keras.tree.map_structure(np.asarray, x)
    labels, weights = complete_batch(y, sample_weight, tasks, owner, all_needed=all_needed, rows=_length(x))
    return ArraysFeed(x, labels, weights)


def feed(x: Any, y: Any, sample_weight: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool) -> Feed:
    """Finds out what kind of data was given, checks its structure and completes its labels.

    Args:
        x: Inputs (arrays, a dict of them, a frame), or a stream of batches.
        y: `{task: labels}` or a frame of them; None for a stream.
        sample_weight: None, one array, or `{task: array}`.
        tasks: The tasks by name.
        owner: For the messages.
        all_needed: Whether every task must have labels.

    Raises:
        ValueError: If structure, keys, dtypes or shapes are wrong; all offenders at once.
        TypeError: If the data is of no kind that Keras takes.
    """
    from kmtl.feeding.streams import DatasetFeed, GeneratorFeed, PyDatasetFeed, is_dataset, is_distributed

    if is_distributed(x):
        return PassedFeed(x)
    streams = (
        (is_dataset, DatasetFeed),
        (lambda given: isinstance(given, keras.utils.PyDataset), PyDatasetFeed),
        (lambda given: hasattr(given, "__next__"), GeneratorFeed),
    )
    for is_kind, kind in streams:
        if is_kind(x):
            _refuse_beside_stream(y, sample_weight, owner)
            return kind.checked(x, tasks, owner, all_needed=all_needed)
    if x is None or as_mapping(y) is None:
        got = words(f"x of type {type(x).__name__} and no y")
        fix = "Pass arrays as x and a dict {task: labels} as y, or a tf.data.Dataset of (x, {task: labels})."
        raise TypeError(refusal(owner, "y", "must be given unless x is a dataset, PyDataset or generator", got, fix))
    return arrays_feed(x, y, sample_weight, tasks, owner, all_needed=all_needed)


class PassedFeed(Feed):
    """A distributed dataset, which is passed on as it is: its values cannot be looked at from here."""

    is_rewindable = False
    is_shuffled_by_keras = False

    def batches(self, limit: int | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:  # noqa: ARG002 - nothing to see
        """Yields nothing."""
        return iter(())

    def is_complete(self, limit: int | None) -> bool:  # noqa: ARG002 - nothing to see
        """Nothing was seen."""
        return False

    def weighted(self, tables: Mapping[str, Any]) -> "Feed":
        """Refuses class weights."""
        if tables:
            fix = "Map the weights onto the dataset before distributing it."
            raise ValueError(refusal("fit", "class_weight", "needs an undistributed dataset", list(tables), fix))
        return self


def _refuse_beside_stream(y: Any, sample_weight: Any, owner: str) -> None:
    """Refuses labels or weights beside a stream that carries its own."""
    for argument, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            fix = "Let the stream yield (x, {task: label}) or (x, {task: label}, {task: weight})."
            got = words(type(value).__name__)
            raise ValueError(refusal(owner, argument, "must not be given beside a stream of batches", got, fix))
