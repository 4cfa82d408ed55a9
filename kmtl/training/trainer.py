"""The one trainer: it builds models from a seed, trains them and measures every task."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, words
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import Task
from kmtl.training.progress import Progress

Scores = dict[str, dict[str, float]]


class Run(NamedTuple):
    """One training.

    Attributes:
        tasks: Names of the tasks it was trained on.
        seed: Its random seed.
        scores: `{task: {metric: test value}}`.
        history: Logs by epoch, as Keras's `History.history`; of a recipe as `kmtl.training.Trained.history`.
        seconds: Wall time of `fit`.
        parameters: Number of weights of the model.
        cost: What the training cost, in joint trainings over the same epochs.
        latency: Seconds that a prediction of one batch takes; NaN if nobody measured.
    """

    tasks: tuple[str, ...]
    seed: int
    scores: Scores
    history: dict[str, list[Any]]
    seconds: float
    parameters: int
    cost: float = 1.0
    latency: float = float("nan")

    def curve(self, key: str) -> list[float]:
        """A log by epoch, of the validation data if there was any; of several stages the last one that has it.

        Args:
            key: As `fit` logs it in training.

        >>> logs = {"stage": ["one", "one", "two"], "age_mae": [3.0, 2.0, float("nan")]}
        >>> Run(("age",), 0, {}, logs, 1.0, 10).curve("age_mae")
        [3.0, 2.0]
        """
        return self.logged(f"val_{key}") or self.logged(key)

    def logged(self, key: str) -> list[float]:
        """A log by epoch, of the last stage that has it; empty where none has."""
        values = self.history.get(key, [])
        stages = self.history["stage"] if values and "stage" in self.history else [""] * len(values)
        known = [stage for stage, value in zip(stages, values, strict=True) if not np.isnan(value)]
        return [value for stage, value in zip(stages, values, strict=True) if known and stage == known[-1]]


class Trainer:
    """Builds, trains and measures models.

    Args:
        build: Makes a compiled `MultiTaskModel`; what it is called with is the caller's affair.
        owner: Whose arguments a refusal names.
        callbacks: Makes fresh callbacks for each training, or None.
        verbose: As in `fit`.
        progress: Counts the epochs of each training; None tells nothing of them.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        *,
        owner: str,
        callbacks: Callable[[], list[Any]] | None = None,
        verbose: Any = "auto",
        progress: Progress | None = None,
    ) -> None:
        self.build = build
        self.owner = owner
        self.callbacks = callbacks
        self.verbose = verbose
        self.progress = progress

    def model(self, *given: Any, seed: int, names: Sequence[str] | None = None) -> Any:
        """Builds a model from a seed.

        Args:
            *given: What `build` is called with.
            seed: Of the weights, and of what is drawn after them.
            names: The tasks that the model must have, in order; None allows any.

        Raises:
            ValueError: If it is no compiled `MultiTaskModel` of these tasks.
        """
        keras.utils.set_random_seed(seed)
        model = self.build(*given)
        with Refusals(self.owner) as refusals:
            refuse_model(refusals, model, names)
        return model

    def fit(
        self,
        model: Any,
        train: Any,
        *,
        epochs: int,
        validation: Any = None,
        initial_epoch: int = 0,
        callbacks: Sequence[Any] = (),
        steps_per_epoch: int | None = None,
    ) -> tuple[dict[str, list[float]], float]:
        """Trains a model; returns its logs by epoch and the seconds that it took."""
        own = self.callbacks() if self.callbacks else []
        start = time.perf_counter()
        history = model.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=[*own, *callbacks],
            steps_per_epoch=steps_per_epoch,
            verbose=self.verbose,
        )
        seconds = time.perf_counter() - start
        if self.progress is not None:
            self.progress.add(epochs - initial_epoch)
        return history.history, seconds

    def run(
        self, tasks: Sequence[Task], train: Any, test: Any, *, epochs: int, seed: int, validation: Any = None
    ) -> tuple[Any, Run]:
        """Builds a model of some of the tasks in the data, trains it on their labels and tests it.

        Returns:
            The model, and how it went.
        """
        names = [task.name for task in tasks]
        model = self.model(list(tasks), seed=seed, names=names)
        train, test = datasets.only(train, names), datasets.only(test, names)
        validation = None if validation is None else datasets.only(validation, names)
        history, seconds = self.fit(model, train, epochs=epochs, validation=validation)
        return model, Run(tuple(names), seed, scores(model, test), history, seconds, model.count_params())


def refuse_model(refusals: Refusals, model: Any, names: Sequence[str] | None = None) -> bool:
    """Records that a build function made no compiled `MultiTaskModel`, or one of other tasks; tells whether it did."""
    fix = "Adopt a Keras model by kmtl.MultiTaskModel.from_model(model, tasks), and compile it."
    rule = "must return a compiled kmtl.MultiTaskModel"
    if not isinstance(model, MultiTaskModel):
        refusals.add("build", rule, words(f"a {type(model).__name__}"), fix)
    elif not model.compiled:
        refusals.add("build", rule, words("one that is not compiled"), fix)
    elif names is not None and list(model.tasks) != list(names):
        fix = "Build the model from the tasks that `build` is given."
        refusals.add("build", f"must return a model of the tasks that it is given, {list(names)}", [*model.tasks], fix)
    else:
        return False
    return True


def scores(model: Any, data: Any, *, losses: bool = False) -> Scores:
    """Measures every task of a model on data, as `task_scores` sorts it."""
    logs = model.evaluate(data, verbose=0, return_dict=True)
    setup = getattr(model, "setup", None)
    joint = () if setup is None else setup.joint_keys
    logs = {key: value for key, value in logs.items() if key not in joint}
    return task_scores(logs, list(model.tasks.values()), losses=losses)


def task_scores(logs: Mapping[str, float], tasks: Sequence[Task], *, losses: bool = False) -> Scores:
    """Sorts logs by task; a longer task name that starts alike keeps its own.

    Args:
        logs: As `evaluate` returns them.
        tasks: The tasks.
        losses: Whether each task's unweighted loss stands before its metrics.

    >>> task_scores({"loss": 3.0, "age_loss": 2.0, "age_mae": 1.0, "age_2_mae": 4.0}, [Task("age"), Task("age_2")])
    {'age': {'mae': 1.0}, 'age_2': {'mae': 4.0}}
    """
    return {task.name: _scores_of(logs, task.name, tasks, losses) for task in tasks}


def _scores_of(logs: Mapping[str, float], name: str, tasks: Sequence[Task], losses: bool) -> dict[str, float]:
    """One task's numbers."""
    prefix = f"{name}_"
    longer = tuple(f"{other.name}_" for other in tasks if other.name.startswith(prefix))
    loss = {"loss": float(logs.get(f"{prefix}loss", np.nan))} if losses else {}
    return loss | {
        key.removeprefix(prefix): float(value)
        for key, value in logs.items()
        if key.startswith(prefix) and key != f"{prefix}loss" and not key.startswith(longer)
    }
