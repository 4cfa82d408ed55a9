"""Trains the joint model and each task alone, under one budget."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kmtl import data as datasets
from kmtl._checks import Refusals, words
from kmtl.evidence.comparison import Comparison
from kmtl.evidence.trainer import Run, Trainer
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
        A `Comparison`: print it, `plot()` it, or take its `table()`, `delta_m`, `baselines`, `model`.

    Raises:
        ValueError: If there is no task, no seed or no epoch, or `build` returns
            something other than a compiled model of the tasks.
    """
    tasks, seeds = list(tasks), list(seeds)
    _check(tasks, seeds, epochs)
    # Alone, a task has no other labels to ask.
    train, test = datasets.in_task_space(train, tasks), datasets.in_task_space(test, tasks)
    validation = None if validation is None else datasets.in_task_space(validation, tasks)
    trainer = Trainer(build, owner="compare", callbacks=callbacks, verbose=verbose)
    joint: list[Run] = []
    separate: dict[str, list[Run]] = {task.name: [] for task in tasks}
    models: dict[str, Any] = {}
    for seed in seeds:
        for name, chosen in [("joint", tasks), *((task.name, [task.alone()]) for task in tasks)]:
            _announce(name, seed, chosen, verbose)
            model, run = trainer.run(chosen, train, test, epochs=epochs, seed=seed, validation=validation)
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
