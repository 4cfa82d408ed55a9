"""Loss weights, and what is searched with them, by KerasTuner."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, is_whole, refusal, require, words
from kmtl.evidence.trainer import task_scores
from kmtl.search import _keras_tuner_private, chief, objectives, tuners
from kmtl.search.cross_validation import splits
from kmtl.search.halving import CANDIDATES
from kmtl.search.hypermodel import Trainee, TrialTrainer, initial_losses
from kmtl.search.roles import Role, role
from kmtl.search.search_folder import SearchFolder
from kmtl.search.space import Space, TaskSpace, refuse_space
from kmtl.search.trials import no_success, read_trials
from kmtl.search.weight_search import WeightSearch
from kmtl.search.worker import join
from kmtl.tasks import Task

_OWNER = "weights"


def weights(
    build: Callable[..., Any],
    train: Any,
    validation: Any,
    *,
    tasks: Sequence[Task] | None = None,
    objective: Any = "delta_m",
    space: Space | None = None,
    tuner: Any = "random",
    max_trials: int | None = None,
    epochs: int = 5,
    callbacks: Callable[[], list[Any]] | None = None,
    directory: str | Path = "searches/weights",
    overwrite: bool = False,
    seed: int = 0,
    verbose: Any = "auto",
) -> WeightSearch:
    """Searches loss weights, and on demand a balancer and a learning rate, by KerasTuner.

    Each trial builds a model, sets its loss weights, trains it and measures every task on the validation set after the
    last epoch. The weights are ratios to a reference task, on losses that are first divided by their size at the start
    (`Space` has the formula). They are set in the compiled model, so that nothing else of `compile` is lost.

    A killed search that is called again goes on: trials that ended stay, the one that ran is run again. Inside
    `kmtl.search.as_chief` and `as_worker` many processes share one search.

    Args:
        build: Makes a compiled `MultiTaskModel` without loss weights: `build(hp)`, or `build(hp, tasks)` if `tasks` is
            given. What else is to be searched, as the width of the trunk, it draws from KerasTuner's `hp`.
        train: A tf.data.Dataset of batches `(x, {task: label})`.
        validation: The same, for the scores; or a whole number, for cross-validation: the batches of `train`, which
            must come in one order, are dealt into so many folds, and each trial trains as many models.
        tasks: The tasks; needed for single-task baselines, for which `build` is called with one task.
        objective: `"delta_m"`, a `DeltaM`, a `Constrained`, or a function of `{task: {metric: value}}` to a number;
            smaller is better. Baselines that are not given are trained once, each task alone, for the same epochs.
        space: What is drawn: the range of the weights and, on demand, a balancer and a learning rate; None takes
            `Space()`.
        tuner: `"random"`, `"bayesian"`, `"hyperband"`, `"halving"` (20 candidates at the cost of 6 trainings of 9
            epochs), a `keras_tuner.Tuner` class, or a function that takes a hypermodel and the settings of one.
        max_trials: None takes 20. A search that ended goes on with more. Of halving the candidates that begin, a third
            of which goes on at each rung; Hyperband counts by itself.
        epochs: Of a trial; of Hyperband and halving the most.
        callbacks: Makes fresh callbacks for each training; with them `fit` gets the validation set.
        directory: This search's folder; one of another search is refused.
        overwrite: Throws an older search in that folder away.
        seed: Of what is drawn, and of every model's start.
        verbose: As in `fit`.

    Returns:
        The result: print it, `plot()` it, or take `best_weights`, `best_model()`, `table()`, `non_dominated()`.

    Raises:
        ImportError: If KerasTuner, or what it needs, is not installed.
        ValueError: With what is wrong, before the first trial.
        RuntimeError: If no trial succeeds, with the causes; if a chief or all workers are gone.

    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> from kmtl import data
    >>> from kmtl.model.model import MultiTaskModel
    >>> from kmtl.tasks import Regression
    >>> pair = [Regression("width"), Regression("age")]
    >>> def build(hp):
    ...     row = keras.Input((3,), name="row")
    ...     features = keras.layers.Dense(hp.Int("units", 4, 8), activation="relu")(row)
    ...     model = MultiTaskModel.from_features(row, features, pair)
    ...     model.compile("adam")
    ...     return model
    >>> def worst(scores):
    ...     return max(found["mae"] for found in scores.values())
    >>> rows = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    >>> batches = data.from_arrays(rows, {"width": rows[:, 0], "age": rows[:, 1]}, pair, batch_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     settings = {"epochs": 1, "max_trials": 2, "directory": folder + "/ages", "verbose": 0}
    ...     found = weights(build, batches, batches, objective=worst, **settings)
    >>> len(found.table()), round(sum(found.best_weights.values()), 6)
    (2, 2.0)
    """
    _check(epochs, max_trials, seed, callbacks)
    tuners.check_tuner(tuner, max_trials, validation)
    pairs = splits(train, validation)
    hp = tuners.load_keras_tuner(tuner).HyperParameters()
    aim, who = objectives.objective_of(objective), role()
    trainer = TrialTrainer(build, tasks, seed=seed, callbacks=callbacks, verbose=verbose)
    probe = trainer.draw(hp)
    found_space = _task_space(space or Space(), probe, hp)
    _check_aim(aim, probe, tasks)
    limit = max_trials or (None if tuner == "hyperband" else CANDIDATES)
    numbers = {"epochs": epochs, "seed": seed, "candidates": limit if tuner == "halving" else None}
    numbers["folds"] = validation if is_whole(validation) else None
    folder = SearchFolder(Path(directory), _settings(found_space, aim, probe, hp, tuner, numbers))
    if overwrite and not who.is_worker:
        folder.clear()
    trainee = Trainee(trainer, found_space, aim, probe.tasks, pairs)
    with join(who) if who.is_worker else nullcontext(), _keras_tuner_private.quiet():
        measure = functools.partial(_measure, trainee, probe, hp, train, epochs)
        trainee.learn(folder.read_of_chief() if who.is_worker else folder.open(measure))
        _check_aim(trainee.objective, probe, tasks)
        _run(tuners.make_tuner(tuner, trainee, folder.place, limit, epochs, seed), who, folder, epochs, verbose)
    found = read_trials(folder.place)
    if all(trial.score is None for trial in found):
        raise no_success(found, folder.place)
    return WeightSearch(trainee, found, trainee.objective.baselines, folder.events())


def _check(epochs: Any, max_trials: Any, seed: Any, callbacks: Any) -> None:
    """Refuses numbers out of range, and what is of the wrong kind."""
    with Refusals(_OWNER) as refusals:
        if max_trials is not None and not (is_whole(max_trials) and max_trials >= 1):
            refusals.add("max_trials", "must be a whole number of at least 1, or None", max_trials)
        if callbacks is not None and not callable(callbacks):
            fix = "Each training needs its own: lambda: [...]."
            refusals.add("callbacks", "must be a function that makes a list", callbacks, fix)
        for argument, value, least in (("epochs", epochs, 1), ("seed", seed, 0)):
            if not is_whole(value) or value < least:
                refusals.add(argument, f"must be a whole number of at least {least}", value)


def _task_space(space: Space, probe: Any, hp: Any) -> TaskSpace:
    """The space over the tasks, every loss taken as 1; refuses one task, and names that the build draws too."""
    names = list(probe.tasks)
    require(len(names) >= 2, _OWNER, "build", "must make a model of two tasks or more", names)
    with Refusals(_OWNER) as refusals:
        refuse_space(refusals, space, probe)
    found = TaskSpace(space, dict.fromkeys(names, 1.0))
    taken = sorted({one.name for one in hp.space} & set(found.names))
    fix = "The search draws them itself."
    require(not taken, _OWNER, "build", "must not draw hyper-parameters of these names", taken, fix)
    return found


def _check_aim(aim: objectives.Objective, probe: Any, tasks: Any) -> None:
    """Refuses an objective on what is not there, or without the tasks to train its baselines."""
    found = task_scores(dict.fromkeys(probe.metrics_names, 0.0), list(probe.tasks.values()), losses=True)
    aim.check(probe.tasks, {name: list(metrics) for name, metrics in found.items()})
    if aim.needs() and tasks is None:
        fix = "Pass `tasks`, so that build(hp, tasks) can make single-task models, or give the baselines."
        raise ValueError(refusal(_OWNER, "objective", "must have baselines", words("none"), fix))


def _settings(space: TaskSpace, aim: Any, probe: Any, hp: Any, tuner: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    """What tells one search from another."""
    return {
        "tasks": {name: type(task).__name__ for name, task in probe.tasks.items()},
        "parameters": probe.count_params(),
        "hyper-parameters": [one.get_config() for one in hp.space],
        "objective": repr(aim),
        "space": dataclasses.asdict(space.space),
        "tuner": tuner if isinstance(tuner, str) else getattr(tuner, "__qualname__", repr(type(tuner))),
        **numbers,
    }


def _measure(trainee: Trainee, probe: Any, hp: Any, train: Any, epochs: int) -> dict[str, Any]:
    """What all trials are measured against: losses at the start, and single-task models if they are asked for."""
    losses = initial_losses(probe, train)
    baselines = None
    if trainee.objective.needs():
        baselines = {}
        for task in trainee.tasks.values():
            if trainee.trainer.verbose != 0:
                print(f"Training {task.name!r} alone, for its baseline")
            baselines[task.name] = trainee.alone(hp, task, epochs)
    return {"losses": losses, "baselines": baselines}


def _run(tuner: Any, who: Role, folder: SearchFolder, epochs: int, verbose: Any) -> None:
    """Runs the trials, or hands them out."""

    def say(event: str) -> None:
        folder.say(event)
        if verbose != 0:
            print(f"Search: {event}", flush=True)

    if not who.is_worker:
        for name in _keras_tuner_private.waiting(tuner.oracle):
            say(f"trial {name} was running when the search ended before and is run again")
    if who.is_chief:
        tuner.oracle.verbose = verbose
        chief.serve(tuner, who, say)
    else:
        tuner.search(epochs=epochs, verbose=verbose)
