"""Points of a trade-off between tasks, however they were found."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl._checks import Refusals, near
from kmtl._table import Result
from kmtl.tasks import Task
from kmtl.training.trainer import Scores


class Point(NamedTuple):
    """One preference and what it gives.

    Attributes:
        preference: One number a task, in order; they sum to 1.
        scores: `{task: {metric: value}}` on the validation set; the loss, if it was measured, is `"loss"`.
    """

    preference: tuple[float, ...]
    scores: Scores


class TradeOff(Result):
    """A result with points that trade tasks against each other."""

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        raise NotImplementedError

    @property
    def points(self) -> Sequence[Point]:
        """The points."""
        raise NotImplementedError

    def chosen_metrics(self, metrics: Mapping[str, str]) -> dict[str, str]:
        """Returns the metric that stands for each task: the given one, or its first; its loss if it has none.

        Args:
            metrics: `{task: metric}`.

        Raises:
            ValueError: If a task or metric is unknown.
        """
        scores = self.points[0].scores
        with Refusals(type(self).__name__) as refusals:
            for name, metric in metrics.items():
                if name not in scores:
                    refusals.add("metrics", "must name tasks", name, near(name, scores))
                elif metric not in scores[name]:
                    refusals.add("metrics", f"must name a metric of {name!r}", metric, near(metric, scores[name]))
        first = {
            name: next(metric for metric in found if metric != "loss" or len(found) == 1)
            for name, found in scores.items()
        }
        return {**first, **metrics}

    def values(self, metrics: Mapping[str, str] | None = None) -> tuple[Any, list[str]]:
        """Returns one number a point and task, `(points, tasks)`, and for each task which end is better.

        Args:
            metrics: `{task: metric}`; a task left out takes its first metric.

        Raises:
            ValueError: If a task or metric is unknown.
        """
        chosen = self.chosen_metrics(metrics or {})
        rows = [[point.scores[name].get(metric, np.nan) for name, metric in chosen.items()] for point in self.points]
        better = ["min" if chosen[task.name] == "loss" else task.direction(chosen[task.name]) for task in self.tasks]
        return np.array(rows), better
