"""The result of a comparison: a table that says what is better, worse or a tie."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._table import Result, Table
from kmtl.evidence.intervals import interval, with_interval
from kmtl.evidence.pictures import plot_curves
from kmtl.metrics import delta_m, is_divisor
from kmtl.tasks import Task
from kmtl.tasks.metric_directions import is_in_unit
from kmtl.training.trainer import Run


class Comparison(Result):
    """The joint model against each task alone: same trunk, same budget, the same seeds.

    A change is signed so that negative is better, in percent of the
    single-task value, and paired by seed. Its interval decides the verdict:
    `better` or `worse` where it leaves 0 out, else `tie`; one seed decides nothing.

    Args:
        tasks: The tasks, in order.
        joint: One run a seed.
        separate: `{task: one run a seed}`, seeds in the same order.
        models: The trained models of the first seed: `"joint"` and one a task.
        names: What the two sides are called where they are shown.

    Attributes:
        model: The joint model of the first seed.
    """

    plot = plot_curves

    def __init__(
        self,
        tasks: Sequence[Task],
        joint: Sequence[Run],
        separate: Mapping[str, Sequence[Run]],
        models: Mapping[str, Any],
        names: tuple[str, str] = ("joint", "separate"),
    ) -> None:
        self.names = names
        self.tasks = list(tasks)
        self.joint = list(joint)
        self.separate = {name: list(runs) for name, runs in separate.items()}
        self.models = dict(models)
        self.model = models.get("joint")

    def _metrics(self) -> list[tuple[Task, str]]:
        """Every metric of every task, in order."""
        return [(task, metric) for task in self.tasks for metric in self.joint[0].scores[task.name]]

    def changes(self, task: Task, metric: str) -> list[float]:
        """Signed relative change of a metric, percent, one a seed; negative is better. NaN if a baseline is near 0."""
        pairs = [
            (run.scores[task.name][metric], alone.scores[task.name][metric])
            for run, alone in zip(self.joint, self.separate[task.name], strict=True)
        ]
        if not self._has_change(task, metric):
            return [float("nan")] * len(pairs)
        return [delta_m({task.name: {metric: value}}, {task.name: {metric: base}}, [task]) for value, base in pairs]

    def _has_change(self, task: Task, metric: str) -> bool:
        """Whether a change may be told relative to every single-task value."""
        return all(is_divisor(task, metric, run.scores[task.name][metric]) for run in self.separate[task.name])

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Mean single-task test values, as `kmtl.callbacks.DeltaM` takes them."""
        table: dict[str, dict[str, float]] = {}
        for task, metric in self._metrics():
            values = [run.scores[task.name][metric] for run in self.separate[task.name]]
            table.setdefault(task.name, {})[metric] = float(np.mean(values))
        return table

    @property
    def delta_m(self) -> tuple[float, float]:
        """Mean over the seeds of delta_m over all metrics that have one, and half its 95 % interval, in percent."""
        counted = [self.changes(*one) for one in self._metrics() if self._has_change(*one)]
        by_seed = np.mean(counted, axis=0).tolist() if counted else [float("nan")]
        return float(np.mean(by_seed)), interval(by_seed)

    def _row(self, task: Task, metric: str) -> dict[str, Any]:
        """The numbers of one metric."""
        joint = [run.scores[task.name][metric] for run in self.joint]
        alone = [run.scores[task.name][metric] for run in self.separate[task.name]]
        changes = self.changes(task, metric)
        change, half = float(np.mean(changes)), interval(changes)
        verdict = "-" if np.isnan(half) else "tie" if abs(change) <= half else "better" if change < 0 else "worse"
        return {
            "task": task.name,
            "metric": metric,
            "unit": task.unit if is_in_unit(metric) else "",
            "joint": float(np.mean(joint)),
            "joint_interval": interval(joint),
            "separate": float(np.mean(alone)),
            "separate_interval": interval(alone),
            "change_percent": change,
            "change_interval": half,
            "verdict": verdict,
        }

    def costs(self) -> dict[str, tuple[float, float]]:
        """Parameters and mean seconds: of the joint model, and of all single-task models together."""
        alone = self.separate.values()
        return {
            "parameters": (float(self.joint[0].parameters), float(sum(runs[0].parameters for runs in alone))),
            "seconds": (
                float(np.mean([run.seconds for run in self.joint])),
                float(sum(np.mean([run.seconds for run in runs]) for runs in alone)),
            ),
        }

    def parts(self) -> list[str | Table]:
        """A row a metric, and beneath it what holds for all of them; the frame has the numbers."""
        rows = [self._row(task, metric) for task, metric in self._metrics()]
        mean, half = self.delta_m
        costs, seeds, (one, other) = self.costs(), len(self.joint), self.names
        lines = [
            "",
            f"delta_m            {with_interval(mean, half, '+.2f')} % (mean change; negative: {one} is better)",
            f"parameters         {costs['parameters'][0]:,.0f} {one}, {costs['parameters'][1]:,.0f} {other}",
            f"training seconds   {costs['seconds'][0]:.1f} {one}, {costs['seconds'][1]:.1f} {other}",
            *(
                f"not counted        {task.name} {metric}, whose single-task value is near 0"
                for task, metric in self._metrics()
                if not self._has_change(task, metric)
            ),
            f"seeds              {seeds}" + ("" if seeds > 1 else " (no interval: a single seed decides nothing)"),
        ]
        import pandas as pd

        return [Table([_cells(row, self.names) for row in rows], frame=pd.DataFrame(rows)), "\n".join(lines)]


def _cells(row: Mapping[str, Any], names: tuple[str, str]) -> dict[str, str]:
    """A row as it is shown."""
    return {
        "task": row["task"],
        "metric": f"{row['metric']} [{row['unit']}]" if row["unit"] else row["metric"],
        names[0]: with_interval(row["joint"], row["joint_interval"], ".4g"),
        names[1]: with_interval(row["separate"], row["separate_interval"], ".4g"),
        "change %": with_interval(row["change_percent"], row["change_interval"], "+.2f"),
        "verdict": row["verdict"],
    }
