"""What a trial does: it builds a model, sets what was drawn, trains it and measures every task."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmtl._checks import require
from kmtl.search.cross_validation import Split
from kmtl.search.objectives import Objective
from kmtl.search.space import TaskSpace
from kmtl.search.trials import SCORE
from kmtl.tasks import Task
from kmtl.training.builds import Build
from kmtl.training.progress import Progress
from kmtl.training.reusable import LastModel
from kmtl.training.trainer import Scores, Trainer, scores

_OWNER = "weights"


class TrialTrainer(Trainer):
    """The trainer over a build function that may draw from KerasTuner's `hp`.

    Args:
        build: `build(tasks)` or `build(tasks, hp)`.
        tasks: The tasks.
        seed: Each model starts from it, so that trials differ by what was drawn alone.
        callbacks: Makes fresh callbacks for a training, or None.
        verbose: As in `fit`.
        progress: Counts the epochs; None tells nothing of them.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        tasks: Sequence[Task],
        *,
        seed: int = 0,
        callbacks: Callable[[], list[Any]] | None = None,
        verbose: Any = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(Build(build, _OWNER), owner=_OWNER, callbacks=callbacks, verbose=verbose, progress=progress)
        self.tasks = list(tasks)
        self.seed = seed

    def draw(self, hp: Any, alone: Task | None = None) -> Any:
        """Makes a model for all tasks, or for one alone."""
        tasks = self.tasks if alone is None else [alone]
        model = self.model(tasks, hp, seed=self.seed, names=[task.name for task in tasks])
        fix = "Leave them out: the search sets them."
        is_free = len({model.loss_weights[name] for name in model.tasks}) == 1
        require(is_free, _OWNER, "build", "must not set `loss_weights`", model.loss_weights, fix)
        return model


class Trainee:
    """Builds, trains and measures the models of a search.

    Args:
        trainer: Makes and trains the models.
        space: What is drawn.
        objective: What is made small.
        tasks: The tasks by name, in order.
        splits: What models are trained and measured on; the metrics of a trial are their mean over the splits.
    """

    def __init__(
        self,
        trainer: TrialTrainer,
        space: TaskSpace,
        objective: Objective,
        tasks: Mapping[str, Task],
        splits: Sequence[Split],
    ) -> None:
        self.trainer = trainer
        self.space = space
        self.objective = objective
        self.tasks = dict(tasks)
        self.splits = list(splits)
        self.checkpoint: Path | None = None
        self._last = LastModel()

    def learn(self, measured: Mapping[str, Any]) -> None:
        """Takes what was measured before the first trial: sizes of losses, and baselines if they were trained."""
        self.space = self.space._replace(losses=dict(measured["losses"]))
        if measured["baselines"] is not None:
            self.objective = copy.copy(self.objective)
            self.objective.baselines = measured["baselines"]

    def fresh(self, hp: Any) -> Any:
        """Builds a model and sets what `hp` draws."""
        model = self._compile(hp)
        self.space.set(hp, model)
        # Else the optimizer's state is not there to be loaded, and promotions start it anew.
        model.optimizer.build(model.trainable_variables)
        return model

    def build(self, hp: Any) -> Any:
        """The same for a trial: the model of the trial before, set back, if it has the form of the new one.

        Its steps are traced already, and what is drawn is mostly weights, which are variables.
        """
        model = self._last.reuse(self._compile(hp), self.space.others(hp.values))
        self.space.set(hp, model)
        return model

    def _compile(self, hp: Any) -> Any:
        """Builds a model under the balancer that `hp` draws."""
        model = self.trainer.draw(hp)
        rule = f"must make the same tasks each time, {list(self.space.losses)}"
        require(list(model.tasks) == list(self.space.losses), _OWNER, "build", rule, list(model.tasks))
        self.space.compile(hp, model)
        return model

    def fit(self, hp: Any, model: Any, epochs: int, initial_epoch: int, callbacks: Sequence[Any]) -> dict[str, float]:
        """Trains a model, keeps its weights, and returns every task's metrics and the score.

        Of several splits each has a model of its own; the weights that are kept are those of the first.
        """
        first, *others = self.splits
        measured = [self._measure(model, first, epochs, initial_epoch, callbacks)]
        if self.checkpoint is not None:
            model.save_weights(self.checkpoint)
        measured += [self._measure(self.build(hp), split, epochs, initial_epoch) for split in others]
        found = _mean(measured)
        score = self.objective.score(found, self.tasks)
        flat = {f"{name}_{metric}": value for name, metrics in found.items() for metric, value in metrics.items()}
        if not np.isfinite(score):
            raise ArithmeticError(f"the score is {score}, from {flat}")
        return {**{key: value for key, value in flat.items() if np.isfinite(value)}, SCORE: float(score)}

    def alone(self, hp: Any, task: Task, epochs: int) -> dict[str, float]:
        """Trains one task alone under the budget of a trial, and returns its metrics."""
        found = [self._measure(self.trainer.draw(hp, task), split.only(task.name), epochs, 0) for split in self.splits]
        return {metric: value for metric, value in _mean(found)[task.name].items() if metric != "loss"}

    def _measure(
        self, model: Any, split: Split, epochs: int, initial_epoch: int, callbacks: Sequence[Any] = ()
    ) -> Scores:
        """Trains and evaluates; what watches the validation pays for it."""
        watched = split.validation if self.trainer.callbacks else None
        steps = {"epochs": epochs, "initial_epoch": initial_epoch}
        self.trainer.fit(model, split.train, validation=watched, callbacks=callbacks, **steps)
        return scores(model, split.validation, losses=True)


def initial_losses(model: Any, train: Any) -> dict[str, float]:
    """Measures the losses of the untrained model on the training data."""
    model.adapt(train)
    return {name: found["loss"] for name, found in scores(model, train, losses=True).items()}


def _mean(measured: Sequence[Scores]) -> Scores:
    """The mean of each number."""
    return {
        name: {metric: float(np.mean([one[name][metric] for one in measured])) for metric in found}
        for name, found in measured[0].items()
    }
