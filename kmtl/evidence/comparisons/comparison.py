"""The result of a comparison: a row a recipe, each held against one of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kmtl._checks import Refusals, near, require
from kmtl._figures import Picture
from kmtl._table import Result, Table
from kmtl.evidence.comparisons.change_sentences import change_sentences
from kmtl.evidence.comparisons.comparison_pictures import cost_picture, curves_picture, forest_picture
from kmtl.evidence.comparisons.negative_transfer import LEVEL, holm
from kmtl.evidence.comparisons.paired_comparison import (
    PairedComparison,
    mean_scores,
    not_counted,
    seeds_told,
    shared_metrics,
    verdict,
)
from kmtl.evidence.intervals import interval, with_interval
from kmtl.evidence.pictures import plot_curves
from kmtl.metrics import mean_rank
from kmtl.tasks import Task
from kmtl.training.trainer import Run

_FEW_SEEDS = 3


class Comparison(Result):
    """Recipes against each other: the same tasks, data and seeds.

    A row holds each metric of each task, the mean change against the baseline (`delta_m`: negative is better;
    `delta_p`: positive is better, each task once), the mean rank among the rows, and what the recipe costs: in joint
    trainings over the given epochs, in seconds of training, in weights, and in the time of a prediction relative to the
    baseline's. All is paired by seed, and ± is half the 95 % interval over the seeds. A verdict is `better` or `worse`
    where that of `delta_m` leaves 0 out, else `tie`; one seed decides nothing.

    A task is flagged, `worse: kind`, where a one-sided paired t test says at 5 % that the recipe harms it, corrected
    after Holm for all tasks and rows: of twenty tables without any harm one, on average, has a flag. Two seeds flag
    next to nothing, five what matters. The test is over seeds, on this test set: what few test rows say by chance, all
    seeds may repeat.

    Args:
        tasks: The tasks, in order.
        runs: `{recipe: one run a seed}`, seeds in the same order.
        baseline: The recipe that the others are held against.
        models: What gives the trained model of the first seed, by recipe.

    Attributes:
        tasks: The same.
        runs: The same.
        baseline: The same.
        metrics: Every task and metric that all rows have, in order.

    Raises:
        ValueError: If rows differ in their seeds, or the baseline is none of them.

    >>> from kmtl.tasks import Regression
    >>> def run(seed, mae):
    ...     return Run(("age",), seed, {"age": {"mae": mae}}, {}, 1.0, 10)
    >>> runs = {"separate": [run(0, 4.0), run(1, 4.0)], "joint": [run(0, 3.0), run(1, 3.0)]}
    >>> found = Comparison([Regression("age")], runs, "separate")
    >>> found.delta_m["joint"], found.mean_rank, found.flags
    ((-25.0, 0.0), {'separate': 2.0, 'joint': 1.0}, {'joint': ()})
    """

    plot = plot_curves

    def __init__(
        self,
        tasks: Sequence[Task],
        runs: Mapping[str, Sequence[Run]],
        baseline: str,
        models: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.tasks = list(tasks)
        self.runs = {name: list(found) for name, found in runs.items()}
        self.baseline = baseline
        self._models = dict(models or {})
        self._known("baseline", baseline)
        seeds = {name: [run.seed for run in found] for name, found in self.runs.items()}
        with Refusals("Comparison") as refusals:
            if len({tuple(found) for found in seeds.values()}) > 1:
                refusals.add("runs", "must hold every row under the same seeds", seeds)
        self.metrics = shared_metrics(self.tasks, list(self.runs.values()))

    def _known(self, argument: str, recipe: str) -> None:
        """Refuses what is no row."""
        require(recipe in self.runs, "Comparison", argument, "must be a row", recipe, near(str(recipe), self.runs))

    def model(self, recipe: str) -> Any:
        """The trained model of the first seed; None of a run whose model is not kept."""
        self._known("recipe", recipe)
        return self._models[recipe]() if recipe in self._models else None

    def __getitem__(self, recipe: str) -> PairedComparison:
        """A recipe against the baseline, metric by metric."""
        self._known("recipe", recipe)
        names, model = (recipe, self.baseline), self._models.get(recipe)
        return PairedComparison(self.tasks, self.runs[recipe], self.runs[self.baseline], names, model, self.metrics)

    def against(self, recipe: str) -> "Comparison":
        """The same runs, held against another recipe."""
        return Comparison(self.tasks, self.runs, recipe, self._models)

    @cached_property
    def rows(self) -> dict[str, PairedComparison]:
        """Every other recipe against the baseline, by name."""
        return {name: self[name] for name in self.runs if name != self.baseline}

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Mean test values of the baseline, as `kmtl.callbacks.DeltaM` takes them."""
        return mean_scores(self.runs[self.baseline], self.metrics)

    @property
    def delta_m(self) -> dict[str, tuple[float, float]]:
        """Mean change of each recipe against the baseline and half its 95 % interval, percent; negative is better."""
        return {self.baseline: (0.0, float("nan")), **{name: row.delta_m for name, row in self.rows.items()}}

    @property
    def delta_p(self) -> dict[str, tuple[float, float]]:
        """Mean gain, each task counted once, and half its 95 % interval, in percent; positive is better."""
        return {self.baseline: (0.0, float("nan")), **{name: row.delta_p for name, row in self.rows.items()}}

    @property
    def mean_rank(self) -> dict[str, float]:
        """Mean place of each recipe among the rows over all metrics, 1 the best; see `kmtl.metrics.mean_rank`."""
        return mean_rank({name: mean_scores(runs, self.metrics) for name, runs in self.runs.items()}, self.tasks)

    @cached_property
    def worse_p(self) -> dict[tuple[str, str], float]:
        """How probable it is that a task looks as bad by chance, by recipe and task, corrected for all of them."""
        return holm({(name, task.name): row.worse_p(task) for name, row in self.rows.items() for task in self.tasks})

    @property
    def flags(self) -> dict[str, tuple[str, ...]]:
        """The tasks that each recipe harms, as `Comparison` says; none under a single seed."""
        return {
            name: tuple(task.name for task in self.tasks if self.worse_p[name, task.name] <= LEVEL)
            for name in self.rows
        }

    @property
    def sides(self) -> list[tuple[str, list[Run]]]:
        """The first recipe that is not the baseline, and the baseline: what `plot` draws."""
        first = next(iter(self.rows), self.baseline)
        return [(name, self.runs[name]) for name in dict.fromkeys((first, self.baseline))]

    def _row(self, name: str, rank: float) -> dict[str, Any]:
        """The numbers of one recipe."""
        runs, base = self.runs[name], self.runs[self.baseline]
        row: dict[str, Any] = {"recipe": name}
        for task, metric in self.metrics:
            values = [run.scores[task.name][metric] for run in runs]
            row[f"{task.name} {metric}"] = float(np.mean(values))
            row[f"{task.name} {metric} interval"] = interval(values)
        none = (0.0, float("nan"))
        is_base = name == self.baseline
        (change, half), (gain, gain_half) = (
            (none, none) if is_base else (self.rows[name].delta_m, self.rows[name].delta_p)
        )
        return {
            **row,
            "delta_m": change,
            "delta_m_interval": half,
            "delta_p": gain,
            "delta_p_interval": gain_half,
            "rank": rank,
            "verdict": verdict(change, half),
            "worse": ", ".join(self.flags.get(name, ())),
            "cost": float(np.mean([run.cost for run in runs])),
            "seconds": float(np.mean([run.seconds for run in runs])),
            "parameters": runs[0].parameters,
            "latency": min(run.latency for run in runs) / min(run.latency for run in base),
        }

    def parts(self) -> list[str | Table]:
        """A row a recipe, and beneath it what holds for all of them; the frame has the numbers."""
        import pandas as pd

        rows = [self._row(name, rank) for name, rank in self.mean_rank.items()]
        return [Table([_cells(row) for row in rows], frame=pd.DataFrame(rows)), "\n".join(self._lines())]

    def _lines(self) -> list[str]:
        """What is said beneath the table."""
        units = [f"{task.name} in {task.unit}" for task in self.tasks if task.unit]
        flagged = [f"{task!r} of {name!r}" for name, tasks in self.flags.items() for task in tasks]
        base, count = self.runs[self.baseline], len(self.runs) - 1
        few = " Few seeds flag little: take five." if 1 < len(base) < _FEW_SEEDS else ""
        tests = f"one-sided paired t tests over seeds, Holm over {len(self.tasks)} tasks and {count} rows"
        return [
            "",
            f"delta_m            mean change against {self.baseline!r} in percent, negative is better",
            "delta_p            mean gain in percent, each task counted once, positive is better",
            "cost               in joint trainings over the given epochs; latency relative to the baseline's",
            *([f"worse              {', '.join(flagged) or 'no task'} ({tests}).{few}"] if len(base) > 1 else []),
            *([f"units              {', '.join(units)}"] if units else []),
            *not_counted(self[self.baseline]),
            *self._not_compared(),
            f"seeds              {seeds_told(base)}",
        ]

    def _not_compared(self) -> list[str]:
        """A line a metric that some rows lack."""
        shared = {(task.name, metric) for task, metric in self.metrics}
        found = [
            (task.name, metric)
            for task in self.tasks
            for metric in dict.fromkeys(
                metric for runs in self.runs.values() for run in runs for metric in run.scores.get(task.name, {})
            )
        ]
        return [
            f"not compared       {task} {metric}, which some rows lack"
            for task, metric in found
            if (task, metric) not in shared
        ]

    def conclusions(self) -> list[str]:
        """Which rows are better or worse than the baseline, at what cost, and whom they harm."""
        costs = {name: float(np.mean([run.cost for run in runs])) for name, runs in self.runs.items()}
        return change_sentences(self.delta_m, costs, self.baseline, self.flags)

    def facts(self) -> dict[str, str]:
        """Its seeds, and the row that the others are held against."""
        return {"seeds": ", ".join(str(run.seed) for run in self.runs[self.baseline]), "held against": self.baseline}

    def pictures(self) -> list[Picture]:
        """The change of each task and metric by recipe, learning curves jointly and alone, cost against `delta_m`."""
        if not self.rows:
            return [curves_picture(self)]
        return [forest_picture(self), curves_picture(self), cost_picture(self)]


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is shown."""
    shown = {
        key: with_interval(value, row[f"{key} interval"], ".4g")
        for key, value in row.items()
        if f"{key} interval" in row
    }
    return {
        "recipe": row["recipe"],
        **shown,
        "delta_m": with_interval(row["delta_m"], row["delta_m_interval"], "+.1f"),
        "delta_p": with_interval(row["delta_p"], row["delta_p_interval"], "+.1f"),
        "rank": f"{row['rank']:.1f}",
        "verdict": row["verdict"],
        "worse": row["worse"] or None,
        "cost": f"{row['cost']:.2f}",
        "seconds": f"{row['seconds']:.1f}",
        "parameters": f"{row['parameters']:,}",
        "latency": None if np.isnan(row["latency"]) else f"{row['latency']:.2f}",
    }
