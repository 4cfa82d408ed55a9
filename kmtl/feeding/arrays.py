"""What `fit`, `evaluate` and their kin accept, each kind behind one face."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._checks import refusal, words
from kmtl.feeding.batches import (
    as_array,
    as_mapping,
    complete_batch,
    multiply_class_weights,
    number_of_examples,
    weights_of_all,
)
from kmtl.feeding.errors import explain_error
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.label_statistics import empty
from kmtl.feeding.order import stream_rows
from kmtl.tasks import Task


class Feed:
    """Checked data in the form that Keras's `fit` takes it.

    Attributes:
        x: Inputs, or the whole stream.
        y: `{task: labels}` for arrays, None for a stream.
        sample_weight: `{task: weights}` or None.
        source: The stream as the user gave it, None for arrays.
        is_rewindable: Whether a pass over it leaves it whole.
        is_visible: Whether its values can be looked at.
        is_shuffled_by_keras: Whether Keras can shuffle it; it warns where it cannot.
        is_at_hand: Whether a look at all of it costs next to nothing.
        absent: Names of the tasks that none of it has labels for, as far as that is known without a look.
        has_fixed_keys: Whether every batch names the same tasks.
    """

    is_rewindable = True
    is_visible = True
    is_shuffled_by_keras = False
    is_at_hand = False
    absent: frozenset[str] = frozenset()
    has_fixed_keys = True

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None, source: Any = None) -> None:
        self.x = x
        self.y = y
        self.sample_weight = sample_weight or None
        self.source = source

    @property
    def size(self) -> float | None:
        """Number of batches, infinity for a stream without end, None if unknown."""
        return None

    @property
    def as_keras_takes_it(self) -> Any:
        """The stream, or `(x, y, sample_weight)`."""
        return self.x if self.y is None else (self.x, self.y, self.sample_weight)

    def explain(self, error: BaseException) -> BaseException:
        """Returns a clearer error for one met while reading it, or the same."""
        return explain_error(error, self.source)

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:
        """Yields `(inputs, labels)`, with or without weights, for the look at the data, at most `limit` batches."""
        raise NotImplementedError

    def unlabelled(self, names: Iterable[str]) -> set[str]:
        """Which of these tasks it has no labels for; if their first batches alone tell, later ones must have none."""
        return set(names) & self.absent

    def is_complete(self, limit: int | None) -> bool:
        """Whether `batches(limit)` is all of the data."""
        return limit is None or (self.size is not None and self.size <= limit)

    def limit(self, steps: int | None, check: bool | int, owner: str, argument: str) -> int | None:
        """How many batches a look takes: all, but of a stream whose end is not known, those of one epoch.

        Args:
            steps: Batches an epoch, if stated.
            check: True, or the number of batches to look at.
            owner: For the message.
            argument: What the user calls the steps.

        Raises:
            ValueError: If the stream has no end and the steps are not stated.
        """
        if self.size == math.inf and steps is None:
            fix = "Pass it, or cut the dataset with take(n)."
            raise ValueError(refusal(owner, argument, "must be given for a dataset without end", None, fix))
        if not isinstance(check, bool):
            return check
        return steps if self.size in (None, math.inf) else None

    def split(self, share: float) -> tuple["Feed", tuple[Any, Any, Any]]:
        """Cuts off validation data, which only arrays allow."""
        got = words(f"{share} with a stream of batches")
        raise ValueError(refusal("fit", "validation_split", "needs arrays", got, "Pass `validation_data`."))

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        raise NotImplementedError

    def steps(self, batch_size: int | None) -> int | None:  # noqa: ARG002 - a stream has batches already
        """Batches of one pass; None if nobody knows."""
        return None if self.size in (None, math.inf) else int(self.size or 0)

    def stream_from(self, first: int, *, batch_size: int | None, shuffle: bool, seed: int) -> "Feed":
        """The same data without end, from batch number `first` on, counted from the start of the first pass.

        Args:
            first: Number of the batch.
            batch_size: Of arrays; None is Keras's 32.
            shuffle: Whether every pass of what Keras would shuffle has an order of its own.
            seed: Of those orders.
        """
        del first, batch_size, shuffle, seed
        fix = "Pass the dataset itself."
        raise ValueError(refusal("fit", "x", "must not be distributed already", words(type(self.x).__name__), fix))


class ArraysFeed(Feed):
    """NumPy arrays, tensors and pandas frames."""

    is_shuffled_by_keras = True
    is_at_hand = True

    def __init__(self, x: Any, y: Any, sample_weight: Any = None, *, tasks: Mapping[str, Task]) -> None:
        super().__init__(x, y, weights_of_all(y, sample_weight, tasks) if sample_weight else None)
        self.tasks = tasks

    @property
    def size(self) -> float | None:
        """All is one batch to the look at the data."""
        return 1

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:  # noqa: ARG002 - all is at hand
        """Yields everything as one batch."""
        yield self.x, self.y, self.sample_weight

    def unlabelled(self, names: Iterable[str]) -> set[str]:
        """Which of these tasks have no label in the arrays."""
        return {name for name in names if not np.any(self.tasks[name].present(self.y[name]))}

    def split(self, share: float) -> tuple["ArraysFeed", tuple[Any, Any, Any]]:
        """Cuts the last share off for validation, as Keras does."""
        size = number_of_examples(self.x)
        number = isinstance(share, int | float | np.number) and 0 < share < 1
        cut = math.floor(size * (1.0 - share)) if number else 0
        if not 0 < cut < size:
            rule = f"must be a share in (0, 1) that leaves examples on both sides of {size}"
            raise ValueError(refusal("fit", "validation_split", rule, share))
        whole = (self.x, self.y, self.sample_weight)
        first, last = (
            keras.tree.map_structure(lambda array, where=where: None if array is None else array[where], whole)
            for where in (slice(0, cut), slice(cut, None))
        )
        kept = ArraysFeed(*first, tasks=self.tasks)
        kept.absent = self.absent
        return kept, last

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        weights = multiply_class_weights(self.y, self.sample_weight or {}, tables, self.tasks)
        return ArraysFeed(self.x, self.y, weights, tasks=self.tasks)

    def steps(self, batch_size: int | None) -> int:
        """Batches of one pass."""
        return -(-number_of_examples(self.x) // (batch_size or 32))

    def stream_from(self, first: int, *, batch_size: int | None, shuffle: bool, seed: int) -> Feed:
        """Batches of rows, whose order is a function of the seed and the pass."""
        return Feed(stream_rows(first, (self.x, self.y, self.sample_weight), batch_size or 32, shuffle, seed))


def arrays_feed(
    x: Any,
    y: Any,
    sample_weight: Any,
    tasks: Mapping[str, Task],
    owner: str,
    *,
    all_needed: bool,
    form: InputForm | None = None,
    values: bool = False,
) -> ArraysFeed:
    """Checks and completes in-memory data.

    Args:
        x: Inputs.
        y: Labels by task.
        sample_weight: None, one array, or by task.
        tasks: The tasks by name.
        owner: For the messages.
        all_needed: Whether every task must have labels.
        form: What the model takes; None leaves the inputs unchecked.
        values: Whether values are checked, too.

    Raises:
        ValueError: With all offenders.
    """
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        x = x.to_numpy()
    x = keras.tree.map_structure(as_array, x)
    labels, weights = complete_batch(x, y, sample_weight, tasks, owner, all_needed=all_needed, form=form, values=values)
    if values and not number_of_examples(x):
        raise ValueError(empty(owner))
    given = ArraysFeed(with_text_as_tensors(x), labels, weights, tasks=tasks)
    given.absent = frozenset(name for name in tasks if as_mapping(y).get(name) is None)
    return given


def with_text_as_tensors(x: Any) -> Any:
    """Returns arrays as they are, or all as tensors where one holds text.

    Keras takes no array of text to a device, and no tensor beside an array.
    """
    if any(getattr(getattr(array, "dtype", None), "kind", "") in "OSU" for array in keras.tree.flatten(x)):
        return keras.tree.map_structure(tf.constant, x)
    return x


class PassedFeed(Feed):
    """A distributed dataset, which is passed on as it is: its values cannot be looked at from here."""

    is_rewindable = False
    is_visible = False

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:  # noqa: ARG002 - nothing to see
        """Yields nothing."""
        return iter(())

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Refuses class weights."""
        if tables:
            fix = "Map the weights onto the dataset before distributing it."
            raise ValueError(refusal("fit", "class_weight", "needs an undistributed dataset", list(tables), fix))
        return self
