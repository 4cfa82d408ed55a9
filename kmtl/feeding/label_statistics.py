"""One pass over the data: what is there, what is wrong with it, and the statistics of the labels."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, words
from kmtl.tasks import Task, TaskSpace


class DataStatistics:
    """What a pass over the training data found.

    Args:
        tasks: The tasks by name.

    Attributes:
        tasks: `kmtl.tasks.LabelStatistics` by task name.
        bad_inputs: For each input, how many examples hold NaN.
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
        arrays = {_path(path): np.asarray(value) for path, value in keras.tree.flatten_with_path(inputs)}
        self.examples += len(next(iter(arrays.values()))) if arrays else 0
        for path, array in arrays.items():
            if array.dtype.kind == "f":
                # A sum is NaN if any element is, and needs no mask of the input's size; infinities may cancel to NaN.
                with np.errstate(invalid="ignore", over="ignore"):
                    suspicious = np.isnan(np.sum(array, dtype=np.float64))
                bad = int(np.isnan(array).reshape(len(array), -1).any(axis=1).sum()) if suspicious else 0
                self.bad_inputs[path] = self.bad_inputs.get(path, 0) + bad
        for name, value in self.space.mask(labels).items():
            self.tasks[name].update(value, (weights or {}).get(name))

    @classmethod
    def of(cls, tasks: Mapping[str, Task], batches: Iterable[tuple[Any, ...]]) -> "DataStatistics":
        """Gathers the statistics of an iterable of `(inputs, labels)`, with or without weights."""
        found = cls(tasks)
        for batch in batches:
            found.update(*batch)
            found.batches += 1
        return found


def _path(path: tuple[Any, ...]) -> str:
    """Names an input by its place in the structure."""
    return "x" + "".join(f"[{part!r}]" for part in path)


def check_statistics(
    found: DataStatistics, standardized: Iterable[str], owner: str, *, all_needed: bool = True
) -> None:
    """Refuses data that no training can come of, all offenders at once.

    Args:
        found: What the data holds.
        standardized: Tasks whose statistics are to be learned from it.
        owner: For the messages.
        all_needed: Whether a task without any label is refused, if all of the data was seen.
    """
    with Refusals(owner) as refusals:
        if found.examples == 0:
            refusals.add("x", "must hold at least one example", words("an empty dataset"))
            return
        for path, bad in found.bad_inputs.items():
            if bad:
                got = words(f"NaN in {bad} of {found.examples} examples")
                refusals.add(path, "must not be NaN", got, "Only labels may be missing; fill or drop these inputs.")
        standardized = set(standardized)
        for name, labels in found.tasks.items():
            learns = name in standardized
            labels.refuse(refusals, f"y[{name!r}]", needed=learns or (all_needed and found.complete), learns=learns)
