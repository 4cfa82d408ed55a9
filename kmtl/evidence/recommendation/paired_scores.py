"""How much better or worse one model is than another on the same rows, task by task."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.labelled_outputs import labelled_outputs
from kmtl.metrics import is_divisor, metrics_in, scores_of_outputs
from kmtl.tasks import Task

# Parts of the rows of which each is left out once.
_GROUPS = 10


class Change(NamedTuple):
    """How a task changed from one model to another.

    Attributes:
        percent: Mean signed change of the task's metrics relative to the first model's; negative is better. NaN if no
            metric has a change.
        error: Its standard error over rows, by the jackknife; NaN for fewer than two groups of rows with labels.
    """

    percent: float
    error: float


@dataclasses.dataclass(frozen=True)
class RowScores:
    """The metrics of a model on some rows, and on these rows without each of ten groups of them.

    Attributes:
        values: `{task: {metric: array (1 + groups,)}}`: of all rows, then without each group.
    """

    values: Mapping[str, Mapping[str, Any]]

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """`{task: {metric: value}}` of all rows."""
        return {task: {name: float(value[0]) for name, value in found.items()} for task, found in self.values.items()}


def row_scores(model: Any, data: Any, owner: str) -> RowScores:
    """Measures a model on labelled data by the metrics that it was compiled with and whose better end is known.

    Row `i` belongs to group `i mod 10`, so that two models on the same data leave out the same rows.

    Args:
        model: A `MultiTaskModel`.
        data: A stream of batches that ends.
        owner: For the messages.
    """
    found = {}
    for name, (labels, outputs) in labelled_outputs(model, data, None, owner).items():
        task = model.tasks[name]
        groups = min(_GROUPS, len(labels))
        place = np.arange(len(labels)) % groups
        kept = [np.ones(len(labels), bool)] + [place != group for group in range(groups)]
        listed = [row for row in metrics_in(model, task) if has_better_end(task, row.key.removeprefix(f"{name}_"))]
        parts = [scores_of_outputs(listed, task, {name: labels[rows]}, outputs[rows]) for rows in kept]
        found[name] = {row.key.removeprefix(f"{name}_"): np.array([part[row.key] for part in parts]) for row in listed}
    return RowScores(found)


def has_better_end(task: Task, metric: str) -> bool:
    """Whether it is known if more or less of a metric is better."""
    try:
        task.direction(metric)
    except ValueError:
        return False
    return True


def changes(scores: RowScores, baseline: RowScores, tasks: Sequence[Task]) -> dict[str, Change]:
    r"""How each task changed.

        change = 100 / M sum_m s_m (a_m - b_m) / |b_m|
        error  = sqrt((G - 1) / G sum_g (change_(g) - mean)^2)

    with `s_m = -1` where more is better, and `change_(g)` without the rows of group `g` of `G`. Both models see the
    same rows, so that what is hard for both cancels.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics, 1979.

    Args:
        scores: Of the one model, `a`.
        baseline: Of the other, `b`.
        tasks: The tasks.

    Returns:
        `{task: Change}`.
    """
    return {task.name: _change(scores.values[task.name], baseline.values[task.name], task) for task in tasks}


def _change(values: Mapping[str, Any], base: Mapping[str, Any], task: Task) -> Change:
    """The change of one task."""
    signed = []
    for metric, before in base.items():
        if metric in values and is_divisor(task, metric, float(before[0])):
            sign = -1.0 if task.direction(metric) == "max" else 1.0
            with np.errstate(divide="ignore", invalid="ignore"):
                signed.append(100.0 * sign * (values[metric] - before) / np.abs(before))
    if not signed:
        return Change(float("nan"), float("nan"))
    mean = np.mean(signed, axis=0)
    parts = mean[1:][np.isfinite(mean[1:])]
    if len(parts) < 2:
        return Change(float(mean[0]), float("nan"))
    error = np.sqrt((len(parts) - 1) / len(parts) * np.sum((parts - parts.mean()) ** 2))
    return Change(float(mean[0]), float(error))
