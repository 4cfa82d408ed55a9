"""One pass over the labels: what is there, what is wrong with it, and its statistics."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, words
from kmtl.feeding.batches import bad_weights
from kmtl.tasks import Task


class TaskCensus:
    """Counts and moments of one task's labels, batch by batch.

    Attributes:
        examples: Examples seen.
        labelled: Examples that carry the label (a vector: any element of it).
        counts: Examples of each class, for integer labels.
        elements: Labelled elements, `(units,)`.
        mean: Mean of each element of a float label, `(units,)`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.examples = 0
        self.labelled = 0
        self.counts = np.zeros(getattr(task, "classes", 0), dtype=np.int64)
        self.elements = np.zeros(task.units)
        self.mean = np.zeros(task.units)
        self.squares = np.zeros(task.units)
        self.lowest: float = np.inf
        self.highest: float = -np.inf
        self.infinite = 0
        self.bad_weights = 0

    @property
    def is_integer(self) -> bool:
        """Whether the label is a class."""
        return self.task.label_dtype == "int32"

    @property
    def scale(self) -> Any:
        """Standard deviation of each element, `(units,)`."""
        return np.sqrt(self.squares / np.maximum(self.elements, 1))

    def update(self, labels: Any, weights: Any = None) -> None:
        """Adds a batch of labels, `(batch, ...)`, and of sample weights, `(batch,)`."""
        values = np.asarray(labels)
        values = values.reshape(len(values), math.prod(self.task.label_shape))
        values = values.astype(np.int64 if self.is_integer else np.float64)
        self.bad_weights += 0 if weights is None else bad_weights(weights, values)
        present = values != -1 if self.is_integer else ~np.isnan(values)
        self.examples += len(values)
        self.labelled += int(present.any(axis=1).sum())
        found = values[present]
        if found.size:
            self.lowest = min(self.lowest, found.min())
            self.highest = max(self.highest, found.max())
            self._count(found) if self.is_integer else self._moments(values, present)

    def _count(self, found: Any) -> None:
        """Counts the classes that exist; the others show in `lowest` and `highest`."""
        good = found[(found >= 0) & (found < len(self.counts))]
        self.counts += np.bincount(good, minlength=len(self.counts))

    def _moments(self, values: Any, present: Any) -> None:
        """Merges the batch's moments into the running ones (Chan, Golub and LeVeque 1983)."""
        finite = present & np.isfinite(values)
        self.infinite += int((present & ~finite).sum())
        count = finite.sum(axis=0)
        mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0)
        total = self.elements + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.elements * count / np.maximum(total, 1)
        self.mean += shift * count / np.maximum(total, 1)
        self.elements = total


class Census:
    """What a pass over the training data found.

    Args:
        tasks: The tasks by name.

    Attributes:
        tasks: A `TaskCensus` by task name.
        bad_inputs: For each input, how many examples hold NaN.
        complete: Whether all of the data was seen.
        batches: Batches seen.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks = {name: TaskCensus(task) for name, task in tasks.items()}
        self.examples = 0
        self.batches = 0
        self.bad_inputs: dict[str, int] = {}
        self.complete = True

    def update(self, inputs: Any, labels: Mapping[str, Any], weights: Mapping[str, Any] | None = None) -> None:
        """Adds a batch: inputs of any structure, `{task: label}` and `{task: weight}`."""
        arrays = {_path(path): np.asarray(value) for path, value in keras.tree.flatten_with_path(inputs)}
        self.examples += len(next(iter(arrays.values()))) if arrays else 0
        for path, array in arrays.items():
            if array.dtype.kind == "f":
                # A sum is NaN if any element is, and needs no mask of the input's size; infinities may cancel to NaN.
                with np.errstate(invalid="ignore", over="ignore"):
                    suspicious = np.isnan(np.sum(array, dtype=np.float64))
                bad = int(np.isnan(array).reshape(len(array), -1).any(axis=1).sum()) if suspicious else 0
                self.bad_inputs[path] = self.bad_inputs.get(path, 0) + bad
        for name, value in labels.items():
            self.tasks[name].update(value, (weights or {}).get(name))

    @classmethod
    def of(cls, tasks: Mapping[str, Task], batches: Iterable[tuple[Any, ...]]) -> "Census":
        """Takes the census of an iterable of `(inputs, labels)`, with or without weights."""
        census = cls(tasks)
        for batch in batches:
            census.update(*batch)
            census.batches += 1
        return census


def _path(path: tuple[Any, ...]) -> str:
    """Names an input by its place in the structure."""
    return "x" + "".join(f"[{part!r}]" for part in path)


def check_census(census: Census, standardized: Iterable[str], owner: str, *, all_needed: bool = True) -> None:
    """Refuses data that no training can come of, all offenders at once.

    Args:
        census: What the data holds.
        standardized: Tasks whose statistics are to be learned from it.
        owner: For the messages.
        all_needed: Whether a task without any label is refused, if all of the data was seen.
    """
    with Refusals(owner) as refusals:
        if census.examples == 0:
            refusals.add("x", "must hold at least one example", words("an empty dataset"))
            return
        for path, bad in census.bad_inputs.items():
            if bad:
                got = words(f"NaN in {bad} of {census.examples} examples")
                refusals.add(path, "must not be NaN", got, "Only labels may be missing; fill or drop these inputs.")
        standardized = set(standardized)
        for name, found in census.tasks.items():
            is_standardized = name in standardized
            _check_task(refusals, found, needed=is_standardized or (all_needed and census.complete))
            if is_standardized and found.labelled:
                _check_spread(refusals, found)


def _check_task(refusals: Refusals, found: TaskCensus, *, needed: bool) -> None:
    """Records what is wrong with one task's labels and weights."""
    label = f"y[{found.task.name!r}]"
    if needed and not found.labelled:
        got = words(f"none in {found.examples} examples")
        refusals.add(label, "must have a label somewhere", got, "Leave the task out, or pass its labels.")
    if found.infinite:
        refusals.add(label, "must be finite or NaN", words(f"{found.infinite} infinite values"))
    highest = len(found.counts) - 1
    if found.is_integer and found.labelled and not 0 <= found.lowest <= found.highest <= highest:
        got = words(f"{found.lowest}..{found.highest}")
        refusals.add(label, f"must lie in 0..{highest}, or be -1 where missing", got, "Classes are counted from 0.")
    if found.bad_weights:
        got = words(f"{found.bad_weights} of {found.examples} that are not")
        refusals.add(f"sample_weight[{found.task.name!r}]", "must be finite and at least 0", got)


def _check_spread(refusals: Refusals, found: TaskCensus) -> None:
    """Records a label that is constant, or has an element that is."""
    if not (found.scale > 1e-12 * (1 + np.abs(found.mean))).all():
        got = words(f"a standard deviation of {found.scale.tolist()}")
        fix = "Drop the task, or give it `standardize=False`."
        refusals.add(f"y[{found.task.name!r}]", "must vary: a constant cannot be standardised", got, fix)
