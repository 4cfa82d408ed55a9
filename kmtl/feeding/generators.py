"""Streams of batches that Python makes: PyDataset, generators."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, refusal, words
from kmtl.feeding.arrays import Feed
from kmtl.feeding.batches import complete_batch, multiply_class_weights, weights_of_all
from kmtl.feeding.inputs import InputForm
from kmtl.tasks import Task

# A generator cannot be rewound: this many of its batches are kept back for the checks and statistics.
_PEEK = 16
_HOOKS = ("on_epoch_begin", "on_epoch_end")


class _Complete:
    """Checks and completes one batch of a Python stream; a class, so that worker processes can pickle it.

    Every task is weighed in every batch: Keras wants one structure throughout.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        owner: str,
        tables: Mapping[str, Any],
        *,
        all_needed: bool,
        form: InputForm | None,
        values: bool = False,
        refused: list[ValueError] | None = None,
    ) -> None:
        self.tasks = dict(tasks)
        self.owner = owner
        self.tables = dict(tables)
        self.all_needed = all_needed
        self.form = form
        self.values = values
        # What comes out of TensorFlow where it reads the stream is another error, of another type.
        self.refused: list[ValueError] = [] if refused is None else refused
        # Tasks that no batch may have labels of: nobody learned their scale, and the first batches have none.
        self.unlabelled: set[str] = set()

    def __call__(self, batch: Any) -> tuple[Any, Any, Any]:
        try:
            return self._completed(*self._unpacked(batch), values=self.values)
        except ValueError as error:
            self.refused.append(error)
            raise

    def without_values(self, batch: Any) -> tuple[Any, Any, Any]:
        """The completed batch, its values unchecked."""
        return self._completed(*self._unpacked(batch), values=False)

    def _completed(self, x: Any, y: Any, weights: Any, *, values: bool) -> tuple[Any, Any, Any]:
        """The batch, checked, with labels and weights of every task."""
        options: dict[str, Any] = {"all_needed": self.all_needed, "form": self.form, "values": values}
        labels, given = complete_batch(x, y, weights, self.tasks, self.owner, **options)
        with Refusals(self.owner) as refusals:
            for name in self.labelled(labels, self.unlabelled):
                got = words("labels in a batch, where the first ones have none")
                fix = "Call model.adapt(data) with data that has them first, or give the task `standardize=False`."
                refusals.add(f"y[{name!r}]", "must have learned the labels' mean and scale", got, fix)
        weights = multiply_class_weights(labels, given, self.tables, self.tasks)
        return x, labels, weights_of_all(labels, weights, self.tasks)

    def labelled(self, labels: Mapping[str, Any], names: Iterable[str]) -> list[str]:
        """Which of these tasks have a label in a completed batch."""
        return [name for name in names if np.any(self.tasks[name].present(labels[name]))]

    def _unpacked(self, batch: Any) -> tuple[Any, Any, Any]:
        """Splits a batch into inputs, labels and weights, or refuses it."""
        if not isinstance(batch, tuple) or len(batch) not in {2, 3}:
            got = words(f"a tuple of {len(batch)}" if isinstance(batch, tuple) else type(batch).__name__)
            rule = "must yield tuples (x, {task: label}) or with a third part, weights"
            raise ValueError(refusal(self.owner, "x", rule, got))
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None

    def with_tables(self, tables: Mapping[str, Any]) -> "_Complete":
        """The same with class weights."""
        options: dict[str, Any] = {"all_needed": self.all_needed, "form": self.form, "values": self.values}
        made = _Complete(self.tasks, self.owner, tables, **options, refused=self.refused)
        made.unlabelled = self.unlabelled
        return made

    def explain(self, error: BaseException) -> BaseException:
        """Returns what was refused where TensorFlow read the stream, or the error itself."""
        return self.refused[-1] if self.refused else error


class _Completed(keras.utils.PyDataset):
    """A PyDataset whose batches are checked and completed as they come."""

    def __init__(self, data: Any, complete: _Complete) -> None:
        super().__init__(
            workers=data.workers,
            use_multiprocessing=data.use_multiprocessing,
            max_queue_size=data.max_queue_size,
        )
        self.data = data
        self.complete = complete

    @property
    def num_batches(self) -> Any:
        """As many as the wrapped one has; None if it never ends."""
        return self.data.num_batches

    def __getitem__(self, index: int) -> Any:
        return self.complete(self.data[index])

    def on_epoch_begin(self) -> None:
        """Passes the event on."""
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Passes the event on."""
        self.data.on_epoch_end()


class _Endless(keras.utils.PyDataset):
    """A PyDataset without end, from one of its batches on."""

    def __init__(self, data: Any, first: int, shuffle: bool, seed: int) -> None:
        super().__init__(
            workers=data.workers,
            use_multiprocessing=data.use_multiprocessing,
            max_queue_size=data.max_queue_size,
        )
        self.data, self.first, self.shuffle, self.seed = data, first, shuffle, seed

    @property
    def num_batches(self) -> None:
        """It never ends."""

    def __getitem__(self, index: int) -> Any:
        size = self.data.num_batches
        if size is None:
            return self.data[self.first + index]
        number, place = divmod(self.first + index, size)
        # The order of a pass is a function of the seed and its number.
        order = np.random.default_rng((self.seed, number)).permutation(size) if self.shuffle else range(size)
        return self.data[int(order[place])]


class _PythonFeed(Feed):
    """What makes its batches in Python: their keys may come and go."""

    has_fixed_keys = False
    complete: _Complete

    def unlabelled(self, names: Iterable[str]) -> set[str]:
        """Which of these tasks have no label in the first batches; a later batch that has one is refused."""
        found = set(names)
        for _, labels, _ in self.batches(_PEEK):
            found.difference_update(self.complete.labelled(labels, found))
        self.complete.unlabelled |= found
        return found


class PyDatasetFeed(_PythonFeed):
    """A keras.utils.PyDataset."""

    @property
    def complete(self) -> _Complete:  # type: ignore[override]
        """What completes a batch."""
        return self.x.complete

    @classmethod
    def checked(
        cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool, form: InputForm | None, values: bool
    ) -> "PyDatasetFeed":
        """Wraps it so that every batch is completed."""
        complete = _Complete(tasks, owner, {}, all_needed=all_needed, form=form, values=values)
        return cls(_Completed(x, complete), source=x)

    def explain(self, error: BaseException) -> BaseException:
        """Returns a clearer error for one met while reading it, or the same."""
        return self.complete.explain(super().explain(error))

    @property
    def is_shuffled_by_keras(self) -> bool:  # type: ignore[override]
        """Keras shuffles the order of the batches, if they have an end."""
        return self.x.num_batches is not None

    @property
    def size(self) -> float | None:
        """Number of batches, infinity for a dataset without end."""
        return math.inf if self.x.num_batches is None else self.x.num_batches

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:
        """Yields the batches from the start."""
        indices = itertools.count() if self.x.num_batches is None else range(self.x.num_batches)
        return (self.x[index] for index in itertools.islice(indices, limit))

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed with class weights multiplied onto the sample weights."""
        return PyDatasetFeed(_Completed(self.x.data, self.complete.with_tables(tables)), source=self.source)

    def stream_from(self, first: int, *, batch_size: int | None, shuffle: bool, seed: int) -> Feed:
        """Batches by index.

        Raises:
            ValueError: If the dataset wants to hear of epochs, of which the stream knows nothing.
        """
        del batch_size
        kind = type(self.x.data)
        wanted = [name for name in _HOOKS if getattr(kind, name) is not getattr(keras.utils.PyDataset, name)]
        if wanted:
            rule = "must make every batch out of its index alone where training has to go on from any batch"
            fix = "Leave it out: with shuffle=True each epoch has the batches in another order."
            raise ValueError(refusal("fit", "x", rule, words(f"{kind.__name__} with {', '.join(wanted)}"), fix))
        return Feed(_Endless(self.x, first, shuffle, seed), source=self.source)


class GeneratorFeed(_PythonFeed):
    """A Python generator, whose keys may differ from batch to batch; its first batches are looked at and kept."""

    is_rewindable = False

    def __init__(self, x: Any, complete: _Complete) -> None:
        super().__init__(x, source=x)
        self.complete = complete

    @classmethod
    def checked(
        cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool, form: InputForm | None, values: bool
    ) -> "GeneratorFeed":
        """Wraps it so that every batch is completed; a key may come and go, so none is needed in each."""
        # The look sees its first batches only.
        del all_needed, values
        return cls(iter(x), _Complete(tasks, owner, {}, all_needed=False, form=form, values=True))

    def batches(self, limit: int | None) -> Iterator[tuple[Any, ...]]:
        """Yields the first batches and puts them back in front."""
        seen = list(itertools.islice(self.x, min(limit or _PEEK, _PEEK)))
        self.x = itertools.chain(seen, self.x)
        # A look tells of all of them at once.
        return map(self.complete.without_values, seen)

    def is_complete(self, limit: int | None) -> bool:  # noqa: ARG002 - the end cannot be seen
        """The rest is unknown."""
        return False

    def with_class_weights(self, tables: Mapping[str, Any]) -> "Feed":
        """Returns the feed as Keras takes it, a generator: completed batches, with class weights."""
        return _RunFeed(self.x, self.complete.with_tables(tables), self.source)


class _RunFeed(Feed):
    """A generator of completed batches."""

    def __init__(self, x: Any, complete: _Complete, source: Any) -> None:
        super().__init__((complete(batch) for batch in x), source=source)
        self.complete = complete

    def explain(self, error: BaseException) -> BaseException:
        """Returns a clearer error for one met while reading it, or the same."""
        # An iterator has no explanation of its own.
        return self.complete.explain(error)

    def stream_from(self, first: int, *, batch_size: int | None, shuffle: bool, seed: int) -> Feed:
        """What is left after the first batches were run through."""
        del batch_size, shuffle, seed
        # Keras takes generators for such, no other iterators.
        return Feed((batch for batch in itertools.islice(self.x, first, None)), source=self.source)
