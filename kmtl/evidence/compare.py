"""Trains the joint model and each task alone, under one budget."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
    separate: Comparison | None = None,
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
        separate: An earlier comparison of the same tasks under the same seeds, whose single-task runs stand in for
            new ones: so several joint models, of other widths or heads, are held against one set of baselines.
        callbacks: Makes fresh callbacks for a training.
        verbose: As in `fit`; what is trained is announced unless it is 0.

    Returns:
        A `Comparison`: print it, `plot()` it, or take its `table()`, `delta_m`, `baselines`, `model`.

    Raises:
        ValueError: If there is no task, no seed or no epoch, or `build` returns
            something other than a compiled model of the tasks.
    """
    tasks, seeds = list(tasks), list(seeds)
    _check(tasks, seeds, epochs, separate)
    trainer = Trainer(build, owner="compare", callbacks=callbacks, verbose=verbose)
    alone = [] if separate else [(task.name, [task]) for task in tasks]
    runs: dict[str, list[Run]] = {"joint": [], **(separate.separate if separate else {name: [] for name, _ in alone})}
    models: dict[str, Any] = dict(separate.models, joint=None) if separate else {}
    for seed in seeds:
        for name, chosen in [("joint", tasks), *alone]:
            _announce(name, seed, chosen, verbose)
            model, run = trainer.run(chosen, train, test, epochs=epochs, seed=seed, validation=validation)
            if models.get(name) is None:
                models[name] = model
            runs[name].append(run)
    return Comparison(tasks, runs.pop("joint"), runs, models)


def _check(tasks: list[Task], seeds: list[int], epochs: int, separate: Comparison | None) -> None:
    """Refuses an empty comparison, and baselines of another one."""
    with Refusals("compare") as refusals:
        if not tasks or not all(isinstance(task, Task) for task in tasks):
            refusals.add("tasks", "must hold kmtl tasks", tasks)
        elif any(task.name == "joint" for task in tasks):
            refusals.add("tasks", "must not be named 'joint', which is the joint model's name here", words("one"))
        if not seeds or len(set(seeds)) != len(seeds):
            refusals.add("seeds", "must be different whole numbers, at least one", seeds)
        if not isinstance(epochs, int) or epochs < 1:
            refusals.add("epochs", "must be a whole number of at least 1", epochs)
        if separate is not None and not refusals.messages:
            _check_baselines(refusals, {task.name: seeds for task in tasks}, separate)


def _check_baselines(refusals: Refusals, wanted: dict[str, list[int]], separate: Comparison) -> None:
    """Records baselines of other tasks, or of other seeds: changes are paired by seed."""
    held = {name: [run.seed for run in runs] for name, runs in separate.separate.items()}
    if held != wanted:
        fix = "Compare under its tasks and seeds, or leave it out."
        refusals.add("separate", f"must hold runs of every task under the same seeds, {wanted}", held, fix)


def _announce(name: str, seed: int, tasks: Sequence[Task], verbose: Any) -> None:
    """Says what is trained next."""
    if verbose != 0:
        alone = "all tasks jointly" if name == "joint" else f"{name!r} alone"
        print(f"Training {alone} ({len(tasks)} task{'s' * (len(tasks) > 1)}), seed {seed}")
