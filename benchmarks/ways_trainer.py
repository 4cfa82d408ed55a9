"""The ways to loss weights, each at what it costs: what `kmtl.search.report` compares."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from kmtl import balancers
from kmtl import data as datasets
from kmtl.evidence.reusable import Reusable
from kmtl.front import train as front
from kmtl.metrics import delta_m
from kmtl.search.from_dynamic import from_dynamic
from kmtl.search.halving import cost
from kmtl.search.hypermodel import scored
from kmtl.search.objectives import DeltaM
from kmtl.search.weights import weights
from kmtl.tasks import Task

Scores = dict[str, dict[str, float]]
# So that what chose the weights by luck of its seed does not have that luck again.
_FINAL = 1000


class Outcome(NamedTuple):
    """What a way led to, for one seed.

    Attributes:
        way: Its name.
        seed: Of its trainings.
        runs: What it cost in trainings of the plain length, the last one included, by epochs.
        seconds: Wall time of all of its trainings.
        delta_m: Of the resulting model on the test set, against single-task models of the same seed, in percent.
        chosen: What it chose, in words.
        scores: `{task: {metric: test value}}`.
    """

    way: str
    seed: int
    runs: float
    seconds: float
    delta_m: float
    chosen: str
    scores: Scores


class Trainer:
    """Trains models of one seed and keeps the time.

    Args:
        build: `build(tasks)`, or `build(tasks, epochs)`.
        tasks: The tasks.
        sets: Training, validation and test set.
        epochs: Of a plain training.
        budget: Trainings that a way may cost.
        candidates: Balancers to try.
        seed: Of everything.
        place: Folder for searches.
        verbose: As in `fit`.

    Attributes:
        baselines: Scores of single-task models, on the validation and on the test set.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        tasks: Sequence[Task],
        sets: tuple[Any, Any, Any],
        epochs: int,
        budget: int,
        candidates: Sequence[str],
        seed: int,
        place: Path,
        verbose: Any,
    ) -> None:
        self.build, self.tasks = build, list(tasks)
        self.train, self.validation, self.test = sets
        self.epochs, self.budget, self.candidates = epochs, budget, list(candidates)
        self.seed, self.place, self.verbose = seed, place, verbose
        self.knows_epochs = takes_epochs(build)
        self.running: Reusable | None = None
        self.runs, self.seconds = 0.0, 0.0
        self.baselines = self._alone()

    def made(self, epochs: int, seed: int, tasks: Sequence[Task] | None = None, balancer: str | None = None) -> Any:
        """Builds a model from a seed; the one of the training before, set back, if it has the same form."""
        keras.utils.set_random_seed(seed)
        model = self.plain(epochs, tasks or self.tasks)
        if balancer:
            chosen = keras.saving.serialize_keras_object(balancers.get(balancer))
            model.compile_from_config({**model.get_compile_config(), "balancer": chosen})
        built = Reusable(model, epochs, list(model.tasks), balancer)
        if self.running is None or not self.running.taken_by(built):
            self.running = built
        return self.running.model

    def plain(self, epochs: int, tasks: Sequence[Task]) -> Any:
        """Builds a model as the user does."""
        return self.build(list(tasks), epochs) if self.knows_epochs else self.build(list(tasks))

    def fit(self, model: Any, epochs: int, train: Any = None) -> Any:
        """Trains a model and counts what that costs; returns its history."""
        started = time.perf_counter()
        history = model.fit(train or self.train, epochs=epochs, verbose=self.verbose)
        self.spend(epochs, time.perf_counter() - started)
        return history

    def spend(self, epochs: float, seconds: float) -> None:
        """Counts a cost."""
        self.runs += epochs / self.epochs
        self.seconds += seconds

    def scores(self, model: Any, data: Any) -> Scores:
        """Metrics of every task, without losses."""
        tasks = list(model.tasks.values())
        found = scored(model.evaluate(data, verbose=0, return_dict=True), tasks)
        return {name: {key: value for key, value in row.items() if key != "loss"} for name, row in found.items()}

    def validated(self, model: Any) -> float:
        """delta_m on the validation set."""
        return delta_m(self.scores(model, self.validation), self.baselines[0], self.tasks)

    def final(self, weights: Mapping[str, float] | None = None, balancer: str | None = None, units: int = 1) -> Any:
        """Trains what was chosen, from another seed than it was chosen by."""
        epochs = units * self.epochs
        model = self.made(epochs, self.seed + _FINAL, balancer=balancer)
        model.set_loss_weights(weights or {})
        self.fit(model, epochs)
        return model

    def outcome(self, way: str) -> Outcome:
        """Goes one way."""
        self.runs, self.seconds = 0.0, 0.0
        model, chosen = WAYS[way](self)
        scores = self.scores(model, self.test)
        change = delta_m(scores, self.baselines[1], self.tasks)
        return Outcome(way, self.seed, self.runs, self.seconds, change, chosen, scores)

    def _alone(self) -> tuple[Scores, Scores]:
        """Trains each task alone; returns the scores on the validation and on the test set."""
        found: tuple[Scores, Scores] = ({}, {})
        for task in self.tasks:
            model = self.made(self.epochs, self.seed, [task])
            self.fit(model, self.epochs, datasets.only(self.train, [task.name]))
            for scores, data in zip(found, (self.validation, self.test), strict=True):
                scores.update(self.scores(model, datasets.only(data, [task.name])))
        return found


def takes_epochs(build: Callable[..., Any]) -> bool:
    """Whether a build function wants to know how long its model will be trained."""
    try:
        inspect.signature(build).bind(None, None)
    except TypeError:
        return False
    return True


def _equal(trainer: Trainer) -> tuple[Any, str]:
    return trainer.final(), "-"


def _longer(trainer: Trainer) -> tuple[Any, str]:
    return trainer.final(units=trainer.budget), "-"


def _balancer(trainer: Trainer) -> tuple[Any, str]:
    found = {}
    for name in trainer.candidates[: trainer.budget - 1]:
        model = trainer.made(trainer.epochs, trainer.seed, balancer=name)
        trainer.fit(model, trainer.epochs)
        found[name] = trainer.validated(model)
    best = min(found, key=lambda name: found[name])
    return trainer.final(balancer=best), best


def _dynamic(trainer: Trainer) -> tuple[Any, str]:
    name = trainer.candidates[0]
    model = trainer.made(trainer.epochs, trainer.seed, balancer=name)
    chosen = from_dynamic(trainer.fit(model, trainer.epochs))
    return trainer.final(chosen), _told(chosen)


def _searched(trainer: Trainer, tuner: str, trials: int, epochs: int) -> tuple[Any, str]:
    """Searches by KerasTuner; `epochs` is what that trains in all."""
    started = time.perf_counter()
    result = weights(
        lambda _, tasks: trainer.plain(trainer.epochs, tasks),
        trainer.train,
        trainer.validation,
        tasks=trainer.tasks,
        objective=DeltaM(trainer.baselines[0]),
        epochs=trainer.epochs,
        max_trials=trials,
        tuner=tuner,
        directory=trainer.place,
        project=f"{tuner}_{trainer.seed}",
        seed=trainer.seed,
        verbose=trainer.verbose,
    )
    trainer.spend(epochs, time.perf_counter() - started)
    return trainer.final(result.best_weights), _told(result.best_weights)


def _random(trainer: Trainer) -> tuple[Any, str]:
    trials = trainer.budget - 1
    return _searched(trainer, "random", trials, trials * trainer.epochs)


def _bayesian(trainer: Trainer) -> tuple[Any, str]:
    trials = trainer.budget - 1
    return _searched(trainer, "bayesian", trials, trials * trainer.epochs)


def _halving(trainer: Trainer) -> tuple[Any, str]:
    afforded, trials = (trainer.budget - 1) * trainer.epochs, trainer.budget - 1
    while cost(trials + 1, trainer.epochs) <= afforded:
        trials += 1
    return _searched(trainer, "halving", trials, cost(trials, trainer.epochs))


def _front(trainer: Trainer) -> tuple[Any, str]:
    epochs = trainer.budget * trainer.epochs
    started = time.perf_counter()

    def build() -> Any:
        keras.utils.set_random_seed(trainer.seed)
        return trainer.plain(epochs, trainer.tasks)

    found = front(build, trainer.train, trainer.validation, epochs=epochs, seed=trainer.seed, verbose=trainer.verbose)
    trainer.spend(epochs, time.perf_counter() - started)
    point = found.select(delta_m=trainer.baselines[0])
    names = [task.name for task in trainer.tasks]
    return found.model(point), _told(dict(zip(names, point.preference, strict=True)))


def _told(values: Mapping[str, float]) -> str:
    """Weights in words."""
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


# In the order of what they cost.
WAYS: dict[str, Callable[[Trainer], tuple[Any, str]]] = {
    "equal": _equal,
    "dynamic": _dynamic,
    "balancer": _balancer,
    "longer": _longer,
    "random": _random,
    "bayesian": _bayesian,
    "halving": _halving,
    "front": _front,
}
