"""What to ship, why, what it cost to find out, and what could not be shown."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from kmtl import _figures
from kmtl._figures import Picture
from kmtl._table import Result, Table
from kmtl.evidence.recommendation.paired_scores import Change, RowScores, changes
from kmtl.evidence.recommendation.race_account import NORMAL, caveats, reason, tried_rows, validation_curves
from kmtl.evidence.recommendation.race_pictures import forest, learning_curves
from kmtl.evidence.recommendation.race_plan import Plan
from kmtl.evidence.recommendation.serving_choice import Choice
from kmtl.tasks import Task
from kmtl.tasks.metric_directions import is_in_unit


@dataclasses.dataclass(frozen=True, repr=False)
class Recommendation(Result):
    """What `recommend` found.

    Attributes:
        model: The model to ship: one `predict`, one artifact, whatever it is made of.
        serves: `{task: name of the candidate that serves it}`, `"alone"` for a model of its own.
        reason: What to ship and why, in words.
        caveats: What could not be shown, in words.
        tasks: The tasks, in order.
        scores: `{task: {metric: value}}` of the model on rows that choosing did not see.
        alone_scores: The same of the tasks alone; empty where they were not trained in full.
        changes: Change of each task against alone on the same rows; empty likewise.
        tried: What was trained: a row a candidate and seed, with its cost and its change by task on the rows for
            choosing.
        skipped: What was not tried, and why, by name.
        cost: What was spent, in trainings of every task alone.
        budget: What might be spent.
        weights: How many weights the model has.
        alone_weights: How many the tasks' own models have together.
        curves: Validation losses by epoch, `{task: {"alone" or a candidate: values}}`.
    """

    model: Any
    serves: Mapping[str, str]
    reason: str
    caveats: Sequence[str]
    tasks: Sequence[Task]
    scores: Mapping[str, Mapping[str, float]]
    alone_scores: Mapping[str, Mapping[str, float]]
    changes: Mapping[str, Change]
    tried: Sequence[Mapping[str, Any]]
    skipped: Mapping[str, str]
    cost: float
    budget: float
    weights: int
    alone_weights: int
    curves: Mapping[str, Mapping[str, Sequence[float]]]

    @classmethod
    def of(
        cls, plan: Plan, chosen: Choice, model: Any, report: RowScores, base: RowScores | None, *, is_split: bool
    ) -> Self:
        """Makes the result of a race.

        Args:
            plan: What was tried.
            chosen: Which model serves each task.
            model: The model to ship.
            report: Its metrics on the rows of the report.
            base: Those of the tasks alone; None where they were not trained in full.
            is_split: Whether these rows are a part of the validation data.
        """
        race, tasks = plan.race, plan.race.given.tasks
        found = {} if base is None else changes(report, base, tasks)
        total = sum(plan.weights.values())
        weights = int(model.count_params())
        return cls(
            model=model,
            serves=chosen.serves,
            reason=reason(plan, chosen, weights, total),
            caveats=[*plan.caveats, *caveats(plan, chosen, found, is_split=is_split)],
            tasks=list(tasks),
            scores=report.scores,
            alone_scores={} if base is None else base.scores,
            changes=found,
            tried=tried_rows(plan),
            skipped=dict(race.skipped),
            cost=race.spent,
            budget=race.budget,
            weights=weights,
            alone_weights=total,
            curves=validation_curves(plan),
        )

    def conclusions(self) -> list[str]:
        """The reason."""
        return [self.reason]

    def facts(self) -> dict[str, str]:
        """What it cost."""
        return {"cost": f"{self.cost:.2f} of a budget of {self.budget:g} trainings of every task alone"}

    def parts(self) -> list[str | Table]:
        """The reason, the scores, what was tried, and what could not be shown."""
        lines = [
            "",
            f"weights   {self.weights:,}, of the tasks alone {self.alone_weights:,}",
            f"cost      {self.cost:.2f} of a budget of {self.budget:g} trainings of every task alone",
            "",
            "Tried, by change in percent on the rows for choosing (negative is better, ± one standard error):",
        ]
        skipped = [f"Not tried: {name}; {why.rstrip(chr(46))}." for name, why in self.skipped.items()]
        ending = ["", "What this does not show:", *(f"- {text}" for text in self.caveats)] if self.caveats else []
        return [
            self.reason,
            "",
            Table([_score_row(self, task, metric) for task, metric in self._metrics()], frame=self._frame()),
            *lines,
            Table([_tried_row(row, self.tasks) for row in self.tried], frame=_tried_frame(self.tried)),
            *skipped,
            *ending,
        ]

    def _metrics(self) -> list[tuple[Task, str]]:
        """Every metric of every task."""
        return [(task, metric) for task in self.tasks for metric in self.scores[task.name]]

    def _frame(self) -> Any:
        """The scores as a frame."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "task": task.name,
                    "metric": metric,
                    "unit": task.unit if is_in_unit(metric) else "",
                    "served_by": self.serves[task.name],
                    "shipped": self.scores[task.name][metric],
                    "alone": self.alone_scores.get(task.name, {}).get(metric, math.nan),
                    "change_percent": self._change(task).percent,
                    "change_interval": NORMAL * self._change(task).error,
                }
                for task, metric in self._metrics()
            ]
        )

    def _change(self, task: Task) -> Change:
        """The change of a task on the rows of the report."""
        return self.changes.get(task.name, Change(math.nan, math.nan))

    def plot(self, path: Any = None) -> Any:
        """Draws the change of each task against alone, with its 95 % interval over rows, for all that was trained.

        Args:
            path: Where the picture goes; None writes none.

        Returns:
            The path, or without one the figure.
        """
        return _figures.save(forest(self), path)

    def pictures(self) -> list[Picture]:
        """The changes, and the validation losses jointly and alone."""
        told = "; ".join(
            f"{row['candidate']}, seed {row['seed']}: "
            + ", ".join(f"{task.name} {row['changes'][task.name].percent:+.1f} %" for task in self.tasks)
            for row in self.tried
            if row["is_held"]
        )
        pictures = [Picture("Change of each task against alone", forest(self), told or "Nothing was held against it.")]
        if any(self.curves.values()):
            text = "Validation loss by share of the training, of each task alone and in the joint models."
            pictures.append(Picture("Learning curves, jointly and alone", learning_curves(self), text))
        return pictures


def _score_row(found: Recommendation, task: Task, metric: str) -> dict[str, Any]:
    """One metric as it is shown."""
    change, unit = found._change(task), task.unit if is_in_unit(metric) else ""
    alone = found.alone_scores.get(task.name, {}).get(metric)
    shown = None if math.isnan(change.percent) else f"{change.percent:+.1f} ± {NORMAL * change.error:.1f}"
    return {
        "task": task.name,
        "served by": found.serves[task.name],
        "metric": f"{metric} [{unit}]" if unit else metric,
        "shipped": found.scores[task.name][metric],
        "alone": alone,
        "task's change %": shown,
    }


def _tried_row(row: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """One training as it is shown."""
    cells: dict[str, Any] = {}
    for task in tasks:
        change = row["changes"].get(task.name)
        if change is not None and row["is_held"]:
            mark = "" if row["holds"][task.name] else " (worse)"
            cells[task.name] = f"{change.percent:+.1f} ± {change.error:.1f}{mark}"
        else:
            cells[task.name] = None
    return {
        "candidate": row["candidate"],
        "seed": row["seed"],
        "weights": f"{row['weights']:,}",
        "cost": f"{row['cost']:.2f}",
        **cells,
    }


def _tried_frame(tried: Sequence[Mapping[str, Any]]) -> Any:
    """What was tried as numbers."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                **{key: row[key] for key in ("candidate", "seed", "weights", "cost")},
                **{f"{task} change_percent": change.percent for task, change in row["changes"].items()},
                **{f"{task} change_error": change.error for task, change in row["changes"].items()},
            }
            for row in tried
        ]
    )
