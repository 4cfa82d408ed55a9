"""The best and the worst predictions of each task, kept in one pass over data of any size."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmtl._figures import Picture
from kmtl.metrics.sample_figure import draw_samples
from kmtl.tasks import Task

Sample = tuple[Any, Any, Any]


class Extremes:
    """Keeps the samples of which each task's outputs are nearest to the labels, and those furthest from them.

    Args:
        tasks: The tasks by name.
        inputs: Names of the model's inputs.
        count: How many of each are kept.
    """

    def __init__(self, tasks: Mapping[str, Task], inputs: Sequence[str], count: int) -> None:
        self.tasks, self.inputs, self.count = dict(tasks), list(inputs), count
        # Heaps of (order, place in the data, error, sample), the first to go in front.
        self._best: dict[str, list[Any]] = {name: [] for name in tasks}
        self._worst: dict[str, list[Any]] = {name: [] for name in tasks}
        self._seen = 0

    def __call__(self, x: Any, labels: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Looks at a batch.

        Args:
            x: Its inputs.
            labels: `{task: labels}`.
            outputs: `{task: outputs}`.
        """
        parts = keras.tree.flatten(x)
        named = dict(x) if isinstance(x, Mapping) else dict(zip(self.inputs, parts, strict=True))
        for name, task in self.tasks.items():
            errors = task.example_errors(labels[name], outputs[name])
            if errors is None or not self.count:
                continue
            order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
            for heap, places, sign in (
                (self._best[name], order[: self.count], -1.0),
                (self._worst[name], order[::-1][: self.count], 1.0),
            ):
                for place in places.tolist():
                    self._offer(heap, sign, float(errors[place]), place, (named, {name: labels[name]}, outputs))
        self._seen += len(next(iter(labels.values())))

    def _offer(self, heap: list[Any], sign: float, error: float, place: int, batch: Sample) -> None:
        """Keeps a sample if it is among the first; of equal ones the earlier."""
        key = (sign * error, -(self._seen + place))
        if len(heap) == self.count and key <= heap[0][:2]:
            return
        sample = tuple({name: np.asarray(value[place]) for name, value in part.items()} for part in batch)
        (heapq.heappushpop if len(heap) == self.count else heapq.heappush)(heap, (*key, error, sample))

    def best(self, name: str) -> list[tuple[float, Sample]]:
        """Error and sample of a task's best, the best first."""
        return [entry[2:] for entry in sorted(self._best[name], key=lambda entry: entry[:2], reverse=True)]

    def worst(self, name: str) -> list[tuple[float, Sample]]:
        """Error and sample of a task's worst, the worst first, without those among the best."""
        best = {entry[1] for entry in self._best[name]}
        kept = [entry for entry in self._worst[name] if entry[1] not in best]
        return [entry[2:] for entry in sorted(kept, key=lambda entry: entry[:2], reverse=True)]


def extremes_pictures(task: Task, extremes: Extremes) -> list[Picture]:
    """Draws a task's worst and best predictions; none where it tells no error."""
    sides = (("Worst", extremes.worst(task.name)), ("Best", extremes.best(task.name)))
    return [
        Picture(f"{word} predictions of {task.name}", _figure(task, found), _told(task, word, found))
        for word, found in sides
        if found
    ]


def _figure(task: Task, found: Sequence[tuple[float, Sample]]) -> Any:
    """Their samples side by side."""
    return draw_samples([sample for _, sample in found], {task.name: task}, columns=3)


def _told(task: Task, word: str, found: Sequence[tuple[float, Sample]]) -> str:
    """Their labels and outputs in words."""
    lines = [task.describe(labels.get(task.name), outputs[task.name]) for _, (_, labels, outputs) in found]
    return f"{word} first, label → predicted: {'; '.join(lines)}."
