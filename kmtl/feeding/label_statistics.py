"""One pass over the data: what is there, what is wrong with it, and the statistics of the labels."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, refusal, words
from kmtl._interrupts import release_interrupts
from kmtl.tasks import Task, TaskSpace

INPUT_RULE = "must be finite"
INPUT_FIX = "Only labels may be missing; fill or drop these inputs, or make a table's by kmtl.trunks.Columns."


class DataStatistics:
    """What a pass over the training data found.

    Args:
        tasks: The tasks by name.

    Attributes:
        tasks: `kmtl.tasks.LabelStatistics` by task name.
        bad_inputs: For each input, how many examples hold NaN or an infinite value.
        complete: Whether all of the data was seen.
        batches: Batches seen.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks = {name: task.statistics() for name, task in tasks.items()}
        self.space = TaskSpace(tasks.values())
        self.examples = 0
        self.batches = 0
        self.bad_inputs: dict[str, int] = {}
        self.complete = True

    def update(self, inputs: Any, labels: Mapping[str, Any], weights: Mapping[str, Any] | None = None) -> None:
        """Adds a batch: inputs of any structure, `{task: label}` and `{task: weight}`."""
        arrays = {path_of(path): np.asarray(value) for path, value in keras.tree.flatten_with_path(inputs)}
        self.examples += len(next(iter(arrays.values()))) if arrays else 0
        for path, array in arrays.items():
            if array.dtype.kind == "f":
                bad = 0 if _is_finite(array) else int((~_finite(array)).reshape(len(array), -1).any(axis=1).sum())
                self.bad_inputs[path] = self.bad_inputs.get(path, 0) + bad
        for name, value in self.space.mask(labels).items():
            self.tasks[name].update(value, (weights or {}).get(name))

    @classmethod
    def of(cls, tasks: Mapping[str, Task], batches: Iterable[tuple[Any, ...]]) -> "DataStatistics":
        """Gathers the statistics of an iterable of `(inputs, labels)`, with or without weights."""
        found = cls(tasks)
        for batch in batches:
            release_interrupts()
            found.update(*batch)
            found.batches += 1
        return found


def _finite(array: Any) -> Any:
    """Which elements are finite as the model sees them, in float32."""
    with np.errstate(over="ignore"):
        return np.isfinite(array.astype(np.float32) if array.dtype == np.float64 else array)


def _is_finite(array: Any) -> bool:
    """Whether all elements are finite, found without a mask of the input's size."""
    if array.dtype == np.float64 and array.size:
        limit = float(np.finfo(np.float32).max)
        return bool(-limit <= array.min() and array.max() <= limit)
    # A sum is not finite if any element is not.
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(np.sum(array, dtype=np.float64)))


def empty(owner: str) -> str:
    """The refusal of data without a single example."""
    return refusal(owner, "x", "must hold at least one example", words("an empty dataset"))


def check_batch(inputs: Any, labels: Mapping[str, Any], tasks: Mapping[str, Task], owner: str) -> None:
    """Refuses values that neither loss nor metric is right with: inputs that are not finite, labels that cannot be.

    Args:
        inputs: Of any structure.
        labels: `{task: array}`, cast to the tasks' dtypes.
        tasks: The tasks by name.
        owner: For the messages.

    Raises:
        ValueError: With all offenders.
    """
    arrays = [np.asarray(value) for value in keras.tree.flatten(inputs)]
    finite = all(_is_finite(array) for array in arrays if array.dtype.kind == "f")
    if not finite or not all(tasks[name].possible(value).all() for name, value in labels.items()):
        check_statistics(DataStatistics.of(tasks, [(inputs, labels)]), (), owner, all_needed=False)


def path_of(path: tuple[Any, ...]) -> str:
    """Names an input by its place in the structure."""
    return "x" + "".join(f"[{part!r}]" for part in path)


def check_statistics(
    found: DataStatistics, standardized: Iterable[str], owner: str, *, all_needed: bool = True, way_out: str = ""
) -> None:
    """Refuses data that no training can come of, all offenders at once.

    Args:
        found: What the data holds.
        standardized: Tasks whose statistics are to be learned from it.
        owner: For the messages.
        all_needed: Whether a task without any label is refused, if all of the data was seen.
        way_out: What else may be done about such a task.
    """
    with Refusals(owner) as refusals:
        if found.examples == 0:
            refusals.messages.append(empty(owner))
            return
        for path, bad in found.bad_inputs.items():
            if bad:
                got = words(f"NaN or infinity in {bad} of {found.examples} examples")
                refusals.add(path, INPUT_RULE, got, INPUT_FIX)
        standardized = set(standardized)
        for name, labels in found.tasks.items():
            learns = name in standardized
            needed = learns or (all_needed and found.complete)
            labels.refuse(refusals, f"y[{name!r}]", needed=needed, learns=learns, way_out=way_out)
