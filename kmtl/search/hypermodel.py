"""What a trial does: it builds a model, sets what was drawn, trains it and measures every task."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kmtl._checks import refusal, require, words
from kmtl.evidence.comparing import task_scores
from kmtl.evidence.reusable import Reusable
from kmtl.model.model import MultiTaskModel
from kmtl.search.objectives import Objective
from kmtl.search.parts import Part
from kmtl.search.records import SCORE
from kmtl.search.space import Space
from kmtl.tasks import Task

_OWNER = "weights"


class Builder:
    """The user's build function, checked at each call.

    Args:
        build: `build(hp)`, or `build(hp, tasks)` if `tasks` is given.
        tasks: The tasks, or None if the function has them itself.

    Raises:
        TypeError: If the function does not take these arguments.
    """

    def __init__(self, build: Callable[..., Any], tasks: Sequence[Task] | None) -> None:
        self.build = build
        self.tasks = None if tasks is None else list(tasks)
        wanted = "build(hp)" if tasks is None else "build(hp, tasks)"
        try:
            inspect.signature(build).bind(*([None] if tasks is None else [None, None]))
        except (TypeError, ValueError) as error:
            fix = "With `tasks` it is called as build(hp, tasks), else as build(hp)."
            raise TypeError(refusal(_OWNER, "build", f"must be a function {wanted}", build, fix)) from error

    def __call__(self, hp: Any, alone: Task | None = None) -> Any:
        """Makes a model for all tasks, or for one alone."""
        tasks = self.tasks if alone is None else [alone]
        model = self.build(hp) if tasks is None else self.build(hp, list(tasks))
        if not isinstance(model, MultiTaskModel) or not model.compiled:
            fix = "Adopt a Keras model by kmtl.MultiTaskModel.from_model(model, tasks), and compile it."
            got = words(
                "one that is not compiled" if isinstance(model, MultiTaskModel) else f"a {type(model).__name__}"
            )
            raise ValueError(refusal(_OWNER, "build", "must return a compiled kmtl.MultiTaskModel", got, fix))
        names = None if tasks is None else [task.name for task in tasks]
        rule = f"must return a model of the tasks that it is given, {names}"
        require(names in (None, list(model.tasks)), _OWNER, "build", rule, list(model.tasks))
        if len(set(model.loss_weights.values())) > 1:
            fix = "Leave them out: the search sets them."
            raise ValueError(refusal(_OWNER, "build", "must not set `loss_weights`", model.loss_weights, fix))
        return model


class Trainee:
    """Builds, trains and measures the models of a search.

    Args:
        builder: Makes the models.
        space: What is drawn.
        objective: What is made small.
        tasks: The tasks by name, in order.
        parts: What models are trained and measured on; the metrics of a trial are their mean over the parts.
        seed: Each model starts from it, so that trials differ by what was drawn alone.
        callbacks: Makes fresh callbacks for a training, or None.
        verbose: As in `fit`.
    """

    def __init__(
        self,
        builder: Builder,
        space: Space,
        objective: Objective,
        tasks: Mapping[str, Task],
        parts: Sequence[Part],
        seed: int,
        callbacks: Callable[[], list[Any]] | None,
        verbose: Any,
    ) -> None:
        self.builder = builder
        self.space = space
        self.objective = objective
        self.tasks = dict(tasks)
        self.parts = list(parts)
        self.seed = seed
        self.callbacks = callbacks
        self.verbose = verbose
        self.checkpoint: Path | None = None
        self._running: Reusable | None = None

    def learn(self, measured: Mapping[str, Any]) -> None:
        """Takes what was measured before the first trial: sizes of losses, and baselines if they were trained."""
        self.space = self.space._replace(losses=dict(measured["losses"]))
        if measured["baselines"] is not None:
            self.objective = copy.copy(self.objective)
            self.objective.baselines = measured["baselines"]

    def fresh(self, hp: Any) -> Any:
        """Builds a model and sets what `hp` draws."""
        model = self._compiled(hp)
        self.space.set(hp, model)
        # Else the optimizer's state is not there to be loaded, and promotions start it anew.
        model.optimizer.build(model.trainable_variables)
        return model

    def build(self, hp: Any) -> Any:
        """The same for a trial: the model of the trial before, set back, if it has the form of the new one.

        Its steps are traced already, and what is drawn is mostly weights, which are variables.
        """
        built = Reusable(self._compiled(hp), self.space.others(hp.values))
        if self._running is None or not self._running.taken_by(built):
            self._running = built
        self.space.set(hp, self._running.model)
        return self._running.model

    def _compiled(self, hp: Any) -> Any:
        """Builds a model under the balancer that `hp` draws."""
        keras.utils.set_random_seed(self.seed)
        model = self.builder(hp)
        rule = f"must make the same tasks each time, {list(self.space.tasks)}"
        require(list(model.tasks) == list(self.space.tasks), _OWNER, "build", rule, list(model.tasks))
        self.space.compile(hp, model)
        return model

    def fit(self, hp: Any, model: Any, epochs: int, initial_epoch: int, callbacks: Sequence[Any]) -> dict[str, float]:
        """Trains a model, keeps its weights, and returns every task's metrics and the score.

        Of several parts each has a model of its own; the weights that are kept are those of the first.
        """
        logs = [self._measured(model, self.parts[0], epochs, initial_epoch, callbacks)]
        if self.checkpoint is not None:
            model.save_weights(self.checkpoint)
        logs += [self._measured(self.build(hp), part, epochs, initial_epoch, []) for part in self.parts[1:]]
        found = scored(_mean(logs), list(self.tasks.values()))
        score = self.objective.score(found, self.tasks)
        flat = {f"{name}_{metric}": value for name, metrics in found.items() for metric, value in metrics.items()}
        if not np.isfinite(score):
            raise ArithmeticError(f"the score is {score}, from {flat}")
        return {**{key: value for key, value in flat.items() if np.isfinite(value)}, SCORE: float(score)}

    def alone(self, hp: Any, task: Task, epochs: int) -> dict[str, float]:
        """Trains one task alone under the budget of a trial, and returns its metrics."""
        logs = []
        for part in self.parts:
            keras.utils.set_random_seed(self.seed)
            logs.append(self._measured(self.builder(hp, task), part.only(task.name), epochs, 0, []))
        found = scored(_mean(logs), [task])[task.name]
        return {metric: value for metric, value in found.items() if metric != "loss"}

    def _measured(
        self, model: Any, part: Part, epochs: int, initial_epoch: int, callbacks: Sequence[Any]
    ) -> dict[str, float]:
        """Trains and evaluates; what watches the validation pays for it."""
        own = self.callbacks() if self.callbacks else []
        model.fit(
            part.train,
            validation_data=part.validation if own else None,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=[*own, *callbacks],
            verbose=self.verbose,
        )
        found: dict[str, float] = model.evaluate(part.validation, verbose=0, return_dict=True)
        return found


def initial_scores(model: Any, train: Any) -> dict[str, dict[str, float]]:
    """Measures the untrained model on the training data, `{task: {metric: value}}` with the losses."""
    model.adapt(train)
    logs = model.evaluate(train, verbose=0, return_dict=True)
    return scored(logs, list(model.tasks.values()))


def scored(logs: Mapping[str, float], tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    """Sorts the logs by task, unweighted losses and metrics alike."""
    return {
        task.name: {"loss": float(logs.get(f"{task.name}_loss", np.nan)), **task_scores(dict(logs), task, tasks)}
        for task in tasks
    }


def _mean(logs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number."""
    return {key: float(np.mean([one[key] for one in logs])) for key in logs[0]}
