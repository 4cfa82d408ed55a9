"""One way to train tasks against another one: a row a metric, paired by seed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._table import Result, Table
from kmtl.evidence.comparisons.negative_transfer import worse_p
from kmtl.evidence.intervals import interval, with_interval
from kmtl.evidence.pictures import plot_curves
from kmtl.metrics import delta_m, delta_p, is_divisor
from kmtl.tasks import Task
from kmtl.tasks.metric_directions import is_in_unit
from kmtl.training.trainer import Run


class PairedComparison(Result):
    """A recipe against the baseline of its comparison: the same tasks, data and seeds.

    A change is signed so that negative is better, in percent of the baseline's value, and paired by seed. Its 95 %
    interval decides the verdict: `better` or `worse` where it leaves 0 out, else `tie`; one seed decides nothing. Of
    twenty verdicts on nothing one is wrong: which tasks are worse beyond that, `Comparison.flags` tells.

    Args:
        tasks: The tasks, in order.
        runs: One run a seed.
        base: The same of the baseline, seeds in the same order.
        names: What the two are called.
        model: Gives the trained model of the first seed, or None.
        metrics: What counts, `(task, metric)` each; None takes all that both have.

    Attributes:
        metrics: Every task and metric that counts, in order.

    >>> from kmtl.tasks import Regression
    >>> def run(seed, mae):
    ...     return Run(("age",), seed, {"age": {"mae": mae}}, {}, 1.0, 10)
    >>> found = PairedComparison([Regression("age")], [run(0, 9.0), run(1, 8.0)], [run(0, 10.0), run(1, 10.0)])
    >>> found.changes(found.tasks[0], "mae")
    [-10.0, -20.0]
    """

    plot = plot_curves

    def __init__(
        self,
        tasks: Sequence[Task],
        runs: Sequence[Run],
        base: Sequence[Run],
        names: tuple[str, str] = ("joint", "separate"),
        model: Callable[[], Any] | None = None,
        metrics: Sequence[tuple[Task, str]] | None = None,
    ) -> None:
        self.tasks, self.runs, self.base, self.names = list(tasks), list(runs), list(base), names
        self._model = model
        self.metrics = shared_metrics(self.tasks, [self.runs, self.base]) if metrics is None else list(metrics)

    @property
    def model(self) -> Any:
        """The trained model of the first seed; None where none is kept."""
        return None if self._model is None else self._model()

    @property
    def sides(self) -> list[tuple[str, list[Run]]]:
        """The two under their names."""
        return [(self.names[0], self.runs), (self.names[1], self.base)]

    def changes(self, task: Task, metric: str) -> list[float]:
        """Signed relative change of a metric, percent, one a seed; negative is better. NaN if a baseline is near 0."""
        if not self.has_change(task, metric):
            return [float("nan")] * len(self.runs)
        pairs = zip(_values(self.runs, task, metric), _values(self.base, task, metric), strict=True)
        return [delta_m({task.name: {metric: value}}, {task.name: {metric: base}}, [task]) for value, base in pairs]

    def has_change(self, task: Task, metric: str) -> bool:
        """Whether a change may be told relative to every value of the baseline."""
        return all(is_divisor(task, metric, value) for value in _values(self.base, task, metric))

    def _counted(self, task: Task | None = None) -> list[tuple[Task, str]]:
        """The metrics of all tasks, or of one, that have a change."""
        return [(one, metric) for one, metric in self.metrics if task in (None, one) and self.has_change(one, metric)]

    def task_changes(self, task: Task) -> list[float]:
        """Mean change of a task's metrics, percent, one a seed; negative is better. NaN where none has a change."""
        counted = [self.changes(*one) for one in self._counted(task)]
        return np.mean(counted, axis=0).tolist() if counted else [float("nan")] * len(self.runs)

    @property
    def by_task(self) -> dict[str, tuple[float, float]]:
        """Mean change of each task and half its 95 % interval, in percent; negative is better."""
        changes = {task.name: self.task_changes(task) for task in self.tasks}
        return {name: (float(np.mean(found)), interval(found)) for name, found in changes.items()}

    def worse_p(self, task: Task) -> float:
        """How probable it is that a task looks as bad by chance, before any correction; NaN for a single seed.

        Differences are taken relative to the mean of the baseline over the seeds, not to each seed's own: equal
        differences stay equal.
        """
        differences = []
        for one, metric in self._counted(task):
            values, base = (np.asarray(_values(runs, one, metric)) for runs in (self.runs, self.base))
            sign = -1.0 if one.direction(metric) == "max" else 1.0
            differences.append(sign * (values - base) / max(abs(np.mean(base)), np.finfo("float64").tiny))
        return worse_p(np.mean(differences, axis=0).tolist()) if differences else float("nan")

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Mean test values of the baseline, as `kmtl.callbacks.DeltaM` takes them."""
        return mean_scores(self.base, self.metrics)

    @property
    def delta_m(self) -> tuple[float, float]:
        """Mean over the seeds of delta_m over all metrics that have one, and half its 95 % interval, in percent."""
        return self._over_seeds(delta_m)

    @property
    def delta_p(self) -> tuple[float, float]:
        """The same of delta_p, which counts each task once, and of which positive is better."""
        return self._over_seeds(delta_p)

    def _over_seeds(self, change: Callable[..., float]) -> tuple[float, float]:
        """Mean of a change over the seeds, and half its interval."""
        counted = self._counted()
        by_seed = [
            change(mean_scores([run], counted), mean_scores([base], counted), self.tasks) if counted else float("nan")
            for run, base in zip(self.runs, self.base, strict=True)
        ]
        return float(np.mean(by_seed)), interval(by_seed)

    def _row(self, task: Task, metric: str) -> dict[str, Any]:
        """The numbers of one metric."""
        values, base = (_values(runs, task, metric) for runs in (self.runs, self.base))
        changes = self.changes(task, metric)
        change, half = float(np.mean(changes)), interval(changes)
        return {
            "task": task.name,
            "metric": metric,
            "unit": task.unit if is_in_unit(metric) else "",
            "value": float(np.mean(values)),
            "value_interval": interval(values),
            "baseline": float(np.mean(base)),
            "baseline_interval": interval(base),
            "change_percent": change,
            "change_interval": half,
            "verdict": verdict(change, half),
        }

    def costs(self) -> dict[str, tuple[float, float]]:
        """Parameters, mean seconds of training, and mean cost in joint trainings: of the row, and of the baseline."""
        runs, base = self.runs, self.base
        return {
            "parameters": (float(runs[0].parameters), float(base[0].parameters)),
            "seconds": (float(np.mean([run.seconds for run in runs])), float(np.mean([run.seconds for run in base]))),
            "cost": (float(np.mean([run.cost for run in runs])), float(np.mean([run.cost for run in base]))),
        }

    def parts(self) -> list[str | Table]:
        """A row a metric, and beneath it what holds for all of them; the frame has the numbers."""
        import pandas as pd

        rows = [self._row(task, metric) for task, metric in self.metrics]
        costs, (one, other) = self.costs(), self.names
        change, gain = (with_interval(*found, "+.2f") for found in (self.delta_m, self.delta_p))
        lines = [
            "",
            f"delta_m            {change} % (mean change; negative: {one} is better)",
            f"delta_p            {gain} % (mean gain, each task once; positive: {one} is better)",
            f"parameters         {costs['parameters'][0]:,.0f} {one}, {costs['parameters'][1]:,.0f} {other}",
            f"training seconds   {costs['seconds'][0]:.1f} {one}, {costs['seconds'][1]:.1f} {other}",
            f"joint trainings    {costs['cost'][0]:.2f} {one}, {costs['cost'][1]:.2f} {other}",
            *not_counted(self),
            f"seeds              {seeds_told(self.runs)}",
        ]
        return [Table([_cells(row, self.names) for row in rows], frame=pd.DataFrame(rows)), "\n".join(lines)]


def shared_metrics(tasks: Sequence[Task], rows: Sequence[Sequence[Run]]) -> list[tuple[Task, str]]:
    """Every task and metric that all runs have, in order."""
    runs = [run for row in rows for run in row]
    return [
        (task, metric)
        for task in tasks
        for metric in runs[0].scores.get(task.name, {})
        if all(metric in run.scores.get(task.name, {}) for run in runs)
    ]


def _values(runs: Sequence[Run], task: Task, metric: str) -> list[float]:
    """A metric, one value a seed."""
    return [run.scores[task.name][metric] for run in runs]


def mean_scores(runs: Sequence[Run], metrics: Sequence[tuple[Task, str]]) -> dict[str, dict[str, float]]:
    """Mean test values over runs, `{task: {metric: value}}`."""
    table: dict[str, dict[str, float]] = {}
    for task, metric in metrics:
        table.setdefault(task.name, {})[metric] = float(np.mean(_values(runs, task, metric)))
    return table


def verdict(change: float, half: float) -> str:
    """What a change amounts to.

    >>> verdict(-3.0, 1.0), verdict(0.5, 1.0), verdict(3.0, float("nan"))
    ('better', 'tie', '-')
    """
    return "-" if np.isnan(half) else "tie" if abs(change) <= half else "better" if change < 0 else "worse"


def not_counted(paired: PairedComparison) -> list[str]:
    """A line a metric that has no change."""
    return [
        f"not counted        {task.name} {metric}, whose value of {paired.names[1]!r} is near 0"
        for task, metric in paired.metrics
        if not paired.has_change(task, metric)
    ]


def seeds_told(runs: Sequence[Run]) -> str:
    """The number of seeds, and what a single one is worth."""
    return f"{len(runs)}" + ("" if len(runs) > 1 else " (no interval and no flag: a single seed decides nothing)")


def _cells(row: Mapping[str, Any], names: tuple[str, str]) -> dict[str, str]:
    """A row as it is shown."""
    return {
        "task": row["task"],
        "metric": f"{row['metric']} [{row['unit']}]" if row["unit"] else row["metric"],
        names[0]: with_interval(row["value"], row["value_interval"], ".4g"),
        names[1]: with_interval(row["baseline"], row["baseline_interval"], ".4g"),
        "change %": with_interval(row["change_percent"], row["change_interval"], "+.2f"),
        "verdict": row["verdict"],
    }
