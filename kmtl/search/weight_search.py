"""What a search of weights found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from kmtl._checks import Refusals, near, require, words
from kmtl.evidence.comparing import task_scores
from kmtl.front.pareto import non_dominated
from kmtl.front.pictures import plot_front
from kmtl.front.result import Point
from kmtl.search.hypermodel import Trainee
from kmtl.search.records import Trial
from kmtl.search.tuners import loaded

_OWNER = "WeightSearch"


class WeightSearch:
    """The trials of a search; `kmtl.search.weights` makes it.

    Args:
        trainee: What a trial did.
        found: The trials, as they stand on disk.
        baselines: Metrics of the single-task models that the scores refer to, or None.
        events: What happened besides, in words.

    Attributes:
        trials: The trials, in order of their numbers.
        baselines: The same.
        events: The same: workers that joined or died, trials that were run again.
    """

    def __init__(self, trainee: Trainee, found: Sequence[Trial], baselines: Any, events: Sequence[str]) -> None:
        self.trainee = trainee
        self.trials = list(found)
        self.baselines = baselines
        self.events = list(events)

    @property
    def best(self) -> Trial:
        """The trial with the smallest score."""
        return min((trial for trial in self.trials if trial.score is not None), key=lambda trial: trial.score or 0.0)

    @property
    def best_weights(self) -> dict[str, float]:
        """The best trial's `loss_weights`, for `compile`: they sum to the number of tasks."""
        return self.weights_of(self.best)

    @property
    def best_values(self) -> dict[str, Any]:
        """All that was drawn for the best trial, by name of the hyper-parameter."""
        return dict(self.best.values)

    def weights_of(self, trial: Trial) -> dict[str, float]:
        """The `loss_weights` of a trial."""
        return self.trainee.space.weights(trial.values)

    def best_model(self) -> Any:
        """Returns the best trial's model with its weights and optimizer, to train further or to export."""
        return self.model_of(self.best)

    def model_of(self, trial: Trial) -> Any:
        """Returns a trial's model as the trial left it.

        Raises:
            ValueError: If the trial left no weights.
        """
        rule = "must have left its weights"
        require(trial.checkpoint.exists(), _OWNER, "trial", rule, words(f"trial {trial.name}, {trial.status.lower()}"))
        keras_tuner = loaded("random")
        hp = keras_tuner.HyperParameters()
        hp.values = dict(trial.values)
        model = self.trainee.fresh(hp)
        model.load_weights(trial.checkpoint)
        return model

    def scores_of(self, trial: Trial) -> dict[str, dict[str, float]]:
        """A trial's metrics on the validation set, `{task: {metric: value}}`."""
        tasks = self.tasks
        return {task.name: task_scores(trial.metrics, task, tasks) for task in tasks}

    @property
    def tasks(self) -> list[Any]:
        """The tasks, in order."""
        return list(self.trainee.tasks.values())

    @property
    def done(self) -> list[Trial]:
        """The trials that succeeded, by the ratio of the first task."""
        found = [trial for trial in self.trials if trial.score is not None]
        return sorted(found, key=lambda trial: self._shares(trial)[0])

    def _shares(self, trial: Trial) -> tuple[float, ...]:
        """A trial's ratios, divided by their sum."""
        ratios = [float(trial.values.get(f"weight_{task.name}", 1.0)) for task in self.tasks]
        return tuple(ratio / sum(ratios) for ratio in ratios)

    @property
    def points(self) -> list[Point]:
        """The trials of `done` as points of a trade-off: ratios that sum to 1, and metrics."""
        return [Point(self._shares(trial), self.scores_of(trial)) for trial in self.done]

    def chosen(self, metrics: Mapping[str, str]) -> dict[str, str]:
        """The metric of each task that trade-offs are told in: its first, if none is given.

        Raises:
            ValueError: If a task or metric is unknown.
        """
        known = {task.name: list(self.scores_of(self.done[0])[task.name]) for task in self.tasks}
        with Refusals(_OWNER) as refusals:
            for name, metric in metrics.items():
                if name not in known:
                    refusals.add("metrics", "must name tasks", name, near(name, known))
                elif metric not in known[name]:
                    refusals.add("metrics", f"must name a metric of {name!r}", metric, near(metric, known[name]))
        return {name: metrics.get(name, found[0]) for name, found in known.items()}

    def values(self, metrics: Mapping[str, str] | None = None) -> tuple[Any, list[str]]:
        """Returns one number a point and task, `(points, tasks)`, and for each task which end is better.

        Args:
            metrics: `{task: metric}`; a task left out takes its first metric.
        """
        chosen = self.chosen(metrics or {})
        rows = [[point.scores[name].get(metric, np.nan) for name, metric in chosen.items()] for point in self.points]
        return np.array(rows), [task.direction(chosen[task.name]) for task in self.tasks]

    def non_dominated(self, metrics: Mapping[str, str] | None = None) -> list[Trial]:
        """The trials that no other is better than: as good for every task and better for one.

        Args:
            metrics: As in `values`.
        """
        kept = non_dominated(*self.values(metrics))
        return [trial for trial, keep in zip(self.done, kept, strict=True) if keep]

    def plot(self, path: Any) -> Path:
        """Draws the trials as points of a trade-off, as `plot_front` does; the colour tells the weights' ratios.

        Args:
            path: Where the picture goes.
        """
        return plot_front(cast("Any", self), path)

    def table(self) -> Any:
        """A row a trial, best first, as a pandas frame: weights, what was drawn, metrics, score, status, cause."""
        import pandas as pd

        best = {trial.name for trial in self.non_dominated()}
        rows = [
            {
                "trial": trial.name,
                **{f"{name}_weight": weight for name, weight in self.weights_of(trial).items()},
                **trial.values,
                **({} if trial.epochs is None else {"epochs": trial.epochs}),
                **trial.metrics,
                "score": trial.score,
                "non_dominated": trial.name in best,
                "status": trial.status,
                "cause": trial.cause,
                "worker": trial.worker,
                "seconds": trial.seconds,
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows).sort_values("score", kind="stable", ignore_index=True)

    def __str__(self) -> str:
        """The best weights, what failed and what happened, and the table."""
        failed = [trial for trial in self.trials if trial.status in ("FAILED", "INVALID")]
        weights = ", ".join(f"{name} {weight:.4g}" for name, weight in self.best_weights.items())
        lines = [
            f"{len(self.trials)} trials; best is trial {self.best.name} with score {self.best.score:.4g}: {weights}"
        ]
        lines += [f"trial {trial.name} failed: {trial.cause}" for trial in failed]
        frame = self.table().drop(columns=["cause", "worker", "seconds"])
        return "\n".join([*lines, *self.events, frame.to_string(index=False, float_format="{:.4g}".format)])
