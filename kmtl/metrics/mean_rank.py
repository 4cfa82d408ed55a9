"""The place of each model among others, metric by metric."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmtl.tasks import Task


def mean_rank(values: Mapping[str, Mapping[str, Mapping[str, float]]], tasks: Sequence[Task]) -> dict[str, float]:
    """Ranks models by each metric, 1 the best, and takes the mean over all metrics of all tasks.

    Equal values share the mean of their places. A value that is NaN comes last. The rank depends on which models are
    compared: a figure of one table says nothing beside that of another.

    Args:
        values: `{model: {task: {metric: value}}}`, the same metrics of each.
        tasks: The tasks; a metric whose better end they do not know does not count.

    Returns:
        `{model: mean rank}`, from 1 to the number of models; NaN where no metric counts.

    >>> from kmtl.tasks import Regression
    >>> values = {name: {"angle": {"mae": mae}} for name, mae in (("one", 2.0), ("two", 1.0), ("three", 2.0))}
    >>> mean_rank(values, [Regression("angle")])
    {'one': 2.5, 'two': 1.0, 'three': 2.5}
    """
    from scipy import stats

    ranks = [
        stats.rankdata(np.nan_to_num([sign * values[name][task.name][metric] for name in values], nan=np.inf))
        for task in tasks
        for metric in next(iter(values.values())).get(task.name, {})
        if (sign := _sign(task, metric))
    ]
    means = np.mean(ranks, axis=0) if ranks else np.full(len(values), np.nan)
    return dict(zip(values, means.tolist(), strict=True))


def _sign(task: Task, metric: str) -> int:
    """1 where less of a metric is better, -1 where more is, 0 where nobody knows."""
    try:
        return -1 if task.direction(metric) == "max" else 1
    except ValueError:
        return 0
