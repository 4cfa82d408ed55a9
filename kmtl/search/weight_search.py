"""What a search of weights found."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import require, words
from kmtl._table import Table
from kmtl.front.pareto import non_dominated
from kmtl.front.plot_front import plot_front
from kmtl.front.trade_off import Point, TradeOff
from kmtl.search.hypermodel import Trainee
from kmtl.search.trials import Trial
from kmtl.search.tuners import load_keras_tuner
from kmtl.tasks import Task
from kmtl.training.trainer import Scores, task_scores

_OWNER = "WeightSearch"


class WeightSearch(TradeOff):
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

    plot = plot_front

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
        keras_tuner = load_keras_tuner("random")
        hp = keras_tuner.HyperParameters()
        hp.values = dict(trial.values)
        model = self.trainee.fresh(hp)
        model.load_weights(trial.checkpoint)
        return model

    def scores_of(self, trial: Trial) -> Scores:
        """A trial's metrics on the validation set, `{task: {metric: value}}`."""
        return task_scores(trial.metrics, self.tasks)

    @property
    def tasks(self) -> list[Task]:
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

    def non_dominated(self, metrics: Mapping[str, str] | None = None) -> list[Trial]:
        """The trials that no other is better than: as good for every task and better for one.

        Args:
            metrics: As in `values`.
        """
        kept = non_dominated(*self.values(metrics))
        return [trial for trial, keep in zip(self.done, kept, strict=True) if keep]

    def parts(self) -> list[str | Table]:
        """The best weights, what failed and what happened, and the trials, best first.

        The frame has a row a trial: weights, what was drawn, metrics, score, status, cause, worker, seconds.
        """
        weights = ", ".join(f"{name} {weight:.4g}" for name, weight in self.best_weights.items())
        head = f"{len(self.trials)} trials; best is trial {self.best.name} with score {self.best.score:.4g}: {weights}"
        failed = [trial for trial in self.trials if trial.status in ("FAILED", "INVALID")]
        lines = [f"trial {trial.name} failed: {trial.cause}" for trial in failed]
        frame = self._frame()
        return [head, *lines, *self.events, Table(frame.drop(columns=["cause", "worker", "seconds"]), frame=frame)]

    def _frame(self) -> Any:
        """The trials as a pandas frame, best first."""
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
