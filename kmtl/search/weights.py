"""Loss weights, and what is searched with them, by KerasTuner."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, is_whole, known_keywords, require
from kmtl.feeding import as_dataset
from kmtl.search import _keras_tuner_private, chief, objectives, tuners
from kmtl.search.cross_validation import Split, splits
from kmtl.search.halving import CANDIDATES, cost
from kmtl.search.hypermodel import Trainee, TrialTrainer, initial_losses
from kmtl.search.roles import Role, role
from kmtl.search.search_folder import SearchFolder
from kmtl.search.space import Space, TaskSpace, refuse_space
from kmtl.search.trials import epochs_of, no_success, read_trials
from kmtl.search.weight_search import WeightSearch
from kmtl.search.worker import join
from kmtl.tasks import Task
from kmtl.training.builds import checked_tasks, refuse_build
from kmtl.training.progress import Progress
from kmtl.training.trainer import task_scores

_OWNER = "weights"
_FORM = "weights(build, tasks, train, validation)"


@known_keywords
def weights(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    validation: Any = None,
    *,
    objective: Any = "delta_m",
    space: Space | None = None,
    tuner: Any = "random",
    max_trials: int | None = None,
    epochs: int = 5,
    batch_size: int = 32,
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
        build: Makes a compiled `MultiTaskModel` without loss weights: `build(tasks)`, or `build(tasks, hp)`. What
            else is to be searched, as the width of the trunk, it draws from KerasTuner's `hp`.
        tasks: The tasks, two or more; for single-task baselines `build` is called with one.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays.
        validation: The same, for the scores; or a whole number, for cross-validation: the batches of `train`, which
            must come in one order, are dealt into so many folds, and each trial trains as many models.
        objective: `"delta_m"`, a `DeltaM`, a `Constrained`, or a function of `{task: {metric: value}}` to a number;
            smaller is better. Baselines that are not given are trained once, each task alone, for the same epochs.
        space: What is drawn: the range of the weights and, on demand, a balancer and a learning rate; None takes
            `Space()`.
        tuner: `"random"`, `"bayesian"`, `"hyperband"`, `"halving"` (20 candidates at the cost of 6 trainings of 9
            epochs), a `keras_tuner.Tuner` class, or a function that takes a hypermodel and the settings of one.
        max_trials: None takes 20. A search that ended goes on with more. Of halving the candidates that begin, a third
            of which goes on at each rung; Hyperband counts by itself.
        epochs: Of a trial; of Hyperband and halving the most.
        batch_size: Of arrays.
        callbacks: Makes fresh callbacks for each training; with them `fit` gets the validation set.
        directory: This search's folder; one of another search is refused.
        overwrite: Throws an older search in that folder away.
        seed: Of what is drawn, and of every model's start.
        verbose: As in `fit`; unless it is 0, each training is followed by the time that is left.

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
    >>> def build(tasks, hp):
    ...     row = keras.Input((3,), name="row")
    ...     features = keras.layers.Dense(hp.Int("units", 4, 8), activation="relu")(row)
    ...     model = MultiTaskModel.from_features(row, features, tasks)
    ...     model.compile("adam")
    ...     return model
    >>> def worst(scores):
    ...     return max(found["mae"] for found in scores.values())
    >>> rows = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    >>> batches = data.from_arrays(rows, {"width": rows[:, 0], "age": rows[:, 1]}, pair, batch_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     settings = {"epochs": 1, "max_trials": 2, "directory": folder + "/ages", "verbose": 0}
    ...     found = weights(build, pair, batches, batches, objective=worst, **settings)
    >>> len(found.table()), round(sum(found.best_weights.values()), 6)
    (2, 2.0)
    """
    numbers = {"epochs": epochs, "seed": seed, "batch_size": batch_size}
    _check_arguments(build, max_trials, numbers, callbacks, directory)
    tasks, train, pairs = _data(tasks, train, validation, batch_size)
    tuners.check_tuner(tuner, max_trials, validation)
    hp = tuners.load_keras_tuner(tuner).HyperParameters()
    aim, who = objectives.objective_of(objective), role()
    trainer = TrialTrainer(build, tasks, seed=seed, callbacks=callbacks, verbose=verbose)
    probe = trainer.draw(hp)
    found_space = _task_space(space or Space(), probe, hp)
    _check_aim(aim, probe)
    limit = max_trials or (None if tuner == "hyperband" else CANDIDATES)
    told = {"epochs": epochs, "seed": seed, "candidates": limit if tuner == "halving" else None}
    told["folds"] = validation if is_whole(validation) else None
    folder = SearchFolder(Path(directory), _settings(found_space, aim, probe, hp, tuner, told))
    if overwrite and not who.is_worker:
        folder.clear()
    trainee = Trainee(trainer, found_space, aim, probe.tasks, pairs)
    if not (who.is_worker or who.is_chief):
        trainer.progress = _progress(trainee, folder, tuner, limit, epochs)
    with join(who) if who.is_worker else nullcontext(), _keras_tuner_private.quiet():
        measure = functools.partial(_measure, trainee, probe, hp, train, epochs)
        trainee.learn(folder.read_of_chief() if who.is_worker else folder.open(measure))
        _check_aim(trainee.objective, probe)
        _run(tuners.make_tuner(tuner, trainee, folder.place, limit, epochs, seed), who, folder, epochs, verbose)
    found = read_trials(folder.place)
    if all(trial.score is None for trial in found):
        raise no_success(found, folder.place)
    return WeightSearch(trainee, found, trainee.objective.baselines, folder.events())


def _check_arguments(
    build: Any, max_trials: Any, numbers: dict[str, Any], callbacks: Any, directory: str | Path
) -> None:
    """Refuses numbers out of range, and what is of the wrong kind."""
    with Refusals(_OWNER) as refusals:
        refuse_build(refusals, build)
        if max_trials is not None and not (is_whole(max_trials) and max_trials >= 1):
            refusals.add("max_trials", "must be a whole number of at least 1, or None", max_trials)
        if callbacks is not None and not callable(callbacks):
            fix = "Each training needs its own: lambda: [...]."
            refusals.add("callbacks", "must be a function that makes a list", callbacks, fix)
        for argument, value in numbers.items():
            least = 0 if argument == "seed" else 1
            if not is_whole(value) or value < least:
                refusals.add(argument, f"must be a whole number of at least {least}", value)
        SearchFolder.refuse(refusals, Path(directory))


def _data(tasks: Any, train: Any, validation: Any, batch_size: int) -> tuple[list[Task], Any, list[Split]]:
    """The tasks, the training set, and what each trial is trained and measured on."""
    has_folds = is_whole(validation)
    with Refusals(_OWNER) as refusals:
        listed = checked_tasks(refusals, tasks, _FORM, least=2)
        refusals.check()
        if has_folds and validation < 2:
            refusals.add("validation", "must be a number of folds of at least 2", validation)
        given = functools.partial(as_dataset, tasks={task.name: task for task in listed}, batch_size=batch_size)
        train = given(refusals, "train", train, shuffle=True, is_reshuffled=not has_folds)
        measured = validation if has_folds else given(refusals, "validation", validation)
    return listed, train, splits(train, measured)


def _progress(trainee: Trainee, folder: SearchFolder, tuner: Any, limit: int | None, epochs: int) -> Progress:
    """Counts the epochs of what is still to be trained."""
    before = folder.has_begun()
    baselines = len(trainee.tasks) * epochs if trainee.objective.needs() and not before else 0
    trials = cost(limit, epochs) if tuner == "halving" and limit else None if limit is None else limit * epochs
    done = epochs_of(read_trials(folder.place), epochs) if before else 0
    total = None if trials is None else len(trainee.splits) * (baselines + max(trials - done, 0))
    progress = Progress(total, trainee.trainer.verbose)
    single = f"{len(trainee.tasks)} baselines and " if baselines else ""
    known = "" if total is None else f": {total} epochs in all"
    progress.say(f"{single}{'trials' if limit is None else f'{limit} trials'} of up to {epochs} epochs{known}")
    return progress


def _task_space(space: Space, probe: Any, hp: Any) -> TaskSpace:
    """The space over the tasks, every loss taken as 1; refuses one task, and names that the build draws too."""
    names = list(probe.tasks)
    with Refusals(_OWNER) as refusals:
        refuse_space(refusals, space, probe)
    found = TaskSpace(space, dict.fromkeys(names, 1.0))
    taken = sorted({one.name for one in hp.space} & set(found.names))
    fix = "The search draws them itself."
    require(not taken, _OWNER, "build", "must not draw hyper-parameters of these names", taken, fix)
    return found


def _check_aim(aim: objectives.Objective, probe: Any) -> None:
    """Refuses an objective on what is not there."""
    found = task_scores(dict.fromkeys(probe.metrics_names, 0.0), list(probe.tasks.values()), losses=True)
    aim.check(probe.tasks, {name: list(metrics) for name, metrics in found.items()})


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
