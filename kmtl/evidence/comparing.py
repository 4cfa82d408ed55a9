"""Trains the joint model and each task alone, under one budget."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from kmtl import data as datasets
from kmtl._checks import Refusals, refusal, words
from kmtl.evidence.comparison import Comparison, Run
from kmtl.tasks import Task


def compare(
    build: Callable[[list[Task]], Any],
    tasks: Sequence[Task],
    train: Any,
    test: Any,
    *,
    epochs: int,
    validation: Any = None,
    seeds: Iterable[int] = (0, 1, 2),
    callbacks: Callable[[], list[Any]] | None = None,
    verbose: Any = "auto",
) -> Comparison:
    """Compares the joint model with one model a task: same trunk, same data, same budget.

    `build` is called with all tasks, then with each one alone, once a seed,
    and each model is trained for the same epochs on the same examples.

    Args:
        build: Makes a compiled `MultiTaskModel` for the tasks it is given.
        tasks: The tasks, in order.
        train: A tf.data.Dataset of batches `(x, {task: label})`.
        test: The same, for the scores.
        epochs: Of every training.
        validation: The same, for the learning curves; None draws them from the training logs.
        seeds: Random seeds, one training of each model a seed.
        callbacks: Makes fresh callbacks for a training.
        verbose: As in `fit`; what is trained is announced unless it is 0.

    Returns:
        A `Comparison`: print it, or take its `table()`, `delta_m`, `baselines`, `model`.

    Raises:
        ValueError: If there is no task, no seed or no epoch, or `build` returns
            something other than a compiled model of the tasks.
    """
    tasks, seeds = list(tasks), list(seeds)
    _check(tasks, seeds, epochs)
    joint: list[Run] = []
    separate: dict[str, list[Run]] = {task.name: [] for task in tasks}
    models: dict[str, Any] = {}
    for seed in seeds:
        for name, chosen in [("joint", tasks), *((task.name, [task]) for task in tasks)]:
            _announce(name, seed, chosen, verbose)
            model, run = _trained(build, chosen, train, test, epochs, validation, seed, callbacks, verbose)
            models.setdefault(name, model)
            (joint if name == "joint" else separate[name]).append(run)
    return Comparison(tasks, joint, separate, models)


def _check(tasks: list[Task], seeds: list[int], epochs: int) -> None:
    """Refuses an empty comparison."""
    with Refusals("compare") as refusals:
        if not tasks or not all(isinstance(task, Task) for task in tasks):
            refusals.add("tasks", "must hold kmtl tasks", tasks)
        elif any(task.name == "joint" for task in tasks):
            refusals.add("tasks", "must not be named 'joint', which is the joint model's name here", words("one"))
        if not seeds or len(set(seeds)) != len(seeds):
            refusals.add("seeds", "must be different whole numbers, at least one", seeds)
        if not isinstance(epochs, int) or epochs < 1:
            refusals.add("epochs", "must be a whole number of at least 1", epochs)


def _announce(name: str, seed: int, tasks: Sequence[Task], verbose: Any) -> None:
    """Says what is trained next."""
    if verbose != 0:
        alone = "all tasks jointly" if name == "joint" else f"{name!r} alone"
        print(f"Training {alone} ({len(tasks)} task{'s' * (len(tasks) > 1)}), seed {seed}")


def _trained(
    build: Any,
    tasks: list[Task],
    train: Any,
    test: Any,
    epochs: int,
    validation: Any,
    seed: int,
    callbacks: Any,
    verbose: Any,
) -> tuple[Any, Run]:
    """Builds, trains and tests one model."""
    names = [task.name for task in tasks]
    keras.utils.set_random_seed(seed)
    model = _built(build, tasks)
    start = time.perf_counter()
    history = model.fit(
        datasets.only(train, names),
        validation_data=None if validation is None else datasets.only(validation, names),
        epochs=epochs,
        callbacks=callbacks() if callbacks else None,
        verbose=verbose,
    )
    seconds = time.perf_counter() - start
    logs = model.evaluate(datasets.only(test, names), verbose=0, return_dict=True)
    scores = {task.name: task_scores(logs, task, tasks) for task in tasks}
    return model, Run(tuple(names), seed, scores, history.history, seconds, model.count_params())


def _built(build: Any, tasks: list[Task]) -> Any:
    """Calls the user's function and looks at what came back."""
    model = build(list(tasks))
    names = [task.name for task in tasks]
    if not getattr(model, "compiled", False) or list(getattr(model, "tasks", {})) != names:
        fix = "Build the model from the tasks that `build` is given, and compile it."
        rule = f"must return a compiled MultiTaskModel of {names}"
        raise ValueError(refusal("compare", "build", rule, words(repr(model)), fix))
    return model


def task_scores(logs: dict[str, float], task: Task, tasks: Sequence[Task]) -> dict[str, float]:
    """The task's metrics out of the logs, without its loss; a longer task name that starts alike keeps its own."""
    prefix = f"{task.name}_"
    longer = [other.name for other in tasks if other.name.startswith(prefix)]
    return {
        key.removeprefix(prefix): float(value)
        for key, value in logs.items()
        if key.startswith(prefix) and key != f"{prefix}loss" and not any(key.startswith(f"{o}_") for o in longer)
    }
