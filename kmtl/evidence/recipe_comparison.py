"""The result of a comparison of recipes: a row a recipe, each held against one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import near, require
from kmtl._table import Result, Table
from kmtl.evidence.comparison import Comparison
from kmtl.evidence.intervals import interval, with_interval
from kmtl.tasks import Task
from kmtl.training.trainer import Run


class RecipeComparison(Result):
    """Recipes against each other: the same tasks, data and seeds.

    A row holds each metric of each task, the mean change against the baseline (`delta_m`, percent, negative is better,
    paired by seed), and what the recipe costs: in joint trainings over the given epochs, in seconds of training, in
    weights, and in the time of a prediction relative to the baseline's. A verdict is `better` or `worse` where the 95 %
    interval of `delta_m` leaves 0 out, else `tie`; one seed decides nothing.

    Args:
        tasks: The tasks, in order.
        runs: `{recipe: one run a seed}`, seeds in the same order.
        baseline: The recipe that the others are held against.
        models: What gives the trained model of the first seed, by recipe.

    >>> from kmtl.tasks import Regression
    >>> def run(seed, mae):
    ...     return Run(("age",), seed, {"age": {"mae": mae}}, {}, 1.0, 10)
    >>> runs = {"separate": [run(0, 4.0), run(1, 4.0)], "joint": [run(0, 3.0), run(1, 3.0)]}
    >>> found = RecipeComparison([Regression("age")], runs, "separate", {})
    >>> found["joint"].delta_m
    (-25.0, 0.0)
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        runs: Mapping[str, Sequence[Run]],
        baseline: str,
        models: Mapping[str, Callable[[], Any]],
    ) -> None:
        require(baseline in runs, "RecipeComparison", "baseline", "must be a recipe", baseline, near(baseline, runs))
        self.tasks = list(tasks)
        self.runs = {name: list(found) for name, found in runs.items()}
        self.baseline = baseline
        self._models = dict(models)

    def model(self, recipe: str) -> Any:
        """The trained model of the first seed; None of a run whose model is not kept."""
        require(recipe in self.runs, "RecipeComparison", "recipe", "must be known", recipe, near(recipe, self.runs))
        return self._models[recipe]() if recipe in self._models else None

    def __getitem__(self, recipe: str) -> Comparison:
        """A recipe against the baseline, metric by metric."""
        require(recipe in self.runs, "RecipeComparison", "recipe", "must be known", recipe, near(recipe, self.runs))
        base = self.runs[self.baseline]
        # What the baseline costs counts once, not once a task.
        free = [run._replace(seconds=0.0, parameters=0) for run in base]
        alone = {task.name: free if place else base for place, task in enumerate(self.tasks)}
        return Comparison(self.tasks, self.runs[recipe], alone, {}, (recipe, self.baseline))

    def against(self, recipe: str) -> "RecipeComparison":
        """The same runs, held against another recipe."""
        return RecipeComparison(self.tasks, self.runs, recipe, self._models)

    @property
    def delta_m(self) -> dict[str, tuple[float, float]]:
        """Mean change of each recipe against the baseline and half its 95 % interval, in percent."""
        return {name: self[name].delta_m for name in self.runs}

    def _row(self, name: str) -> dict[str, Any]:
        """The numbers of one recipe."""
        runs, base = self.runs[name], self.runs[self.baseline]
        change, half = self[name].delta_m if name != self.baseline else (0.0, float("nan"))
        row: dict[str, Any] = {"recipe": name}
        for task in self.tasks:
            for metric in runs[0].scores[task.name]:
                values = [run.scores[task.name][metric] for run in runs]
                row[f"{task.name} {metric}"] = float(np.mean(values))
                row[f"{task.name} {metric} interval"] = interval(values)
        return {
            **row,
            "delta_m": change,
            "delta_m_interval": half,
            "verdict": verdict(change, half),
            "cost": float(np.mean([run.cost for run in runs])),
            "seconds": float(np.mean([run.seconds for run in runs])),
            "parameters": runs[0].parameters,
            "latency": min(run.latency for run in runs) / min(run.latency for run in base),
        }

    def parts(self) -> list[str | Table]:
        """A row a recipe, and beneath it what holds for all of them."""
        import pandas as pd

        rows, seeds = [self._row(name) for name in self.runs], len(self.runs[self.baseline])
        units = [f"{task.name} in {task.unit}" for task in self.tasks if task.unit]
        lines = [
            "",
            f"delta_m     mean change against {self.baseline!r} in percent, negative is better",
            "cost        in joint trainings over the given epochs; latency relative to the baseline's",
            *([f"units       {', '.join(units)}"] if units else []),
            f"seeds       {seeds}" + ("" if seeds > 1 else " (no interval: a single seed decides nothing)"),
        ]
        return [Table([_cells(row) for row in rows], frame=pd.DataFrame(rows)), "\n".join(lines)]


def verdict(change: float, half: float) -> str:
    """What a change amounts to.

    >>> verdict(-3.0, 1.0), verdict(0.5, 1.0), verdict(3.0, float("nan"))
    ('better', 'tie', '-')
    """
    return "-" if np.isnan(half) else "tie" if abs(change) <= half else "better" if change < 0 else "worse"


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is shown."""
    shown = {
        key: with_interval(value, row[f"{key} interval"], ".4g")
        for key, value in row.items()
        if f"{key} interval" in row
    }
    change = with_interval(row["delta_m"], row["delta_m_interval"], "+.1f")
    return {
        "recipe": row["recipe"],
        **shown,
        "delta_m": change,
        "verdict": row["verdict"],
        "cost": f"{row['cost']:.2f}",
        "seconds": f"{row['seconds']:.1f}",
        "parameters": f"{row['parameters']:,}",
        "latency": None if np.isnan(row["latency"]) else f"{row['latency']:.2f}",
    }
