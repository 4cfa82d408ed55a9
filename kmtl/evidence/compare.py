"""Trains the joint model and each task alone, under one budget."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kmtl import data as datasets
from kmtl._checks import Refusals, is_whole, known_keys, known_keywords, words
from kmtl.evidence.compare_recipes import Contest, compare_recipes
from kmtl.evidence.comparison import Comparison
from kmtl.feeding import as_dataset
from kmtl.tasks import Task
from kmtl.training import Recipe
from kmtl.training.builds import Build, checked_tasks, refuse_build
from kmtl.training.progress import Progress
from kmtl.training.trainer import Run, Trainer

_FORM = "compare(build, tasks, train, test, epochs=...)"


@known_keywords
def compare(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    test: Any = None,
    *,
    epochs: int,
    validation: Any = None,
    seeds: Iterable[int] | int = (0, 1, 2),
    separate: Comparison | None = None,
    recipes: Mapping[str, Recipe] | None = None,
    folder: Any = None,
    batch_size: int = 32,
    callbacks: Callable[[], list[Any]] | None = None,
    verbose: Any = "auto",
) -> Any:
    """Compares the joint model with one model a task, or any forms of joint training: same data, same budget.

    Without `recipes`, `build` is called with all tasks, then with each one alone, once a seed, and each model is
    trained for the same epochs on the same examples. With `recipes`, each of `kmtl.training` is a row, held against
    `Separate`, which is added if none is among them. Give `Joint` three rows: as it is, `Joint(epochs=K)` at the cost
    of the K separate models, and `Joint(build=wider)` with as many weights as they have together.

    Args:
        build: `build(tasks)`: makes a compiled `MultiTaskModel` for the tasks it is given.
        tasks: The tasks, in order.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays. With `recipes` that all take such,
            as `Alternating` and `Separate`, also `{task: data}`.
        test: The same, for the scores.
        epochs: Of every training.
        validation: The same, for the learning curves; None draws them from the training logs.
        seeds: Random seeds, one training of each model a seed; a number n takes 0 to n - 1.
        separate: An earlier comparison of the same tasks under the same seeds, whose single-task runs stand in for
            new ones: so several joint models, of other widths or heads, are held against one set of baselines.
        recipes: `{name: recipe}` of `kmtl.training`.
        folder: With `recipes`: where finished runs are kept. Another call with the same tasks, data, epochs, seed,
            recipe and model does not repeat them, and a run that was killed goes on inside its stage. None keeps
            nothing.
        batch_size: Of arrays.
        callbacks: Makes fresh callbacks for a training.
        verbose: As in `fit`; unless it is 0, each training is announced and followed by the time that is left.

    Returns:
        A `Comparison`: print it, `plot()` it, or take its `table()`, `delta_m`, `baselines`, `model`. With `recipes` a
        `RecipeComparison`: print it, take its `table()`, a row by name, or hold all `against` another row.

    Raises:
        ValueError: If there is no task, no seed or no epoch, or `build` returns
            something other than a compiled model of the tasks.
    """
    _refuse_mixed(recipes, separate, folder)
    by_task = recipes is not None and isinstance(train, Mapping)
    given = (None if by_task else train, test, validation)
    chosen, numbers, sets = _checked(build, tasks, given, seeds, epochs, batch_size, by_task=by_task)
    if by_task:
        sets[0] = _sets_by_task(train, chosen, batch_size)
    if recipes is not None:
        contest = Contest(build, chosen, sets[0], sets[1], sets[2], epochs, numbers, callbacks, verbose)
        return compare_recipes(contest, recipes, folder)
    if separate is not None:
        _refuse_others(separate, {task.name: numbers for task in chosen})
    parts = {"joint": chosen, **({} if separate else {task.name: [task.alone()] for task in chosen})}
    trainings = len(numbers) * len(parts)
    progress = Progress(trainings * epochs, verbose)
    progress.say(f"{trainings} trainings of {epochs} epochs each")
    trainer = Trainer(Build(build, "compare"), owner="compare", callbacks=callbacks, verbose=verbose, progress=progress)
    runs: dict[str, list[Run]] = {name: [] for name in parts}
    models: dict[str, Any] = {}
    for seed in numbers:
        for name, part in parts.items():
            alone = "all tasks jointly" if name == "joint" else f"{name!r} alone"
            progress.say(f"Training {alone} ({len(part)} task{'s' * (len(part) > 1)}), seed {seed}")
            model, run = trainer.run(part, *sets[:2], epochs=epochs, seed=seed, validation=sets[2])
            models.setdefault(name, model)
            runs[name].append(run)
    joint = runs.pop("joint")
    if separate is not None:
        runs, models = separate.separate, {**separate.models, **models}
    return Comparison(chosen, joint, runs, models)


def _refuse_others(separate: Comparison, wanted: dict[str, list[int]]) -> None:
    """Refuses baselines of other tasks, or of other seeds: changes are paired by seed."""
    held = {name: [run.seed for run in runs] for name, runs in separate.separate.items()}
    with Refusals("compare") as refusals:
        if held != wanted:
            fix = "Compare under its tasks and seeds, or leave it out."
            refusals.add("separate", f"must hold runs of every task under the same seeds, {wanted}", held, fix)


def _refuse_mixed(recipes: Any, separate: Any, folder: Any) -> None:
    """Refuses arguments of the one comparison in the other."""
    with Refusals("compare") as refusals:
        if recipes is not None and separate is not None:
            fix = "Give `folder`: finished runs are not repeated."
            refusals.add("separate", "must be left out with `recipes`", words("one"), fix)
        if recipes is None and folder is not None:
            refusals.add("folder", "must be left out without `recipes`", folder)


def _is_seed(value: Any) -> bool:
    """Whether NumPy and Keras take it for one."""
    return is_whole(value) and 0 <= value < 2**32


def _sets_by_task(train: Mapping[str, Any], tasks: Sequence[Task], batch_size: int) -> dict[str, Any]:
    """A dataset a task."""
    named = {task.name: task for task in tasks}
    with Refusals("compare") as refusals:
        known_keys(refusals, "train", train, named)
        refusals.check()
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}
        return {name: as_dataset(refusals, "train", data, named, **options) for name, data in train.items()}


def _checked(
    build: Any,
    tasks: Any,
    sets: tuple[Any, Any, Any],
    seeds: Any,
    epochs: Any,
    batch_size: Any,
    *,
    by_task: bool = False,
) -> tuple[list[Task], list[int], list[Any]]:
    """The tasks, the seeds and the sets; refuses what cannot be compared."""
    numbers = range(max(seeds, 0)) if is_whole(seeds) else seeds
    numbers = list(numbers) if isinstance(numbers, Iterable) else []
    with Refusals("compare") as refusals:
        refuse_build(refusals, build)
        listed = checked_tasks(refusals, tasks, _FORM)
        if any(task.name == "joint" for task in listed):
            refusals.add("tasks", "must not be named 'joint', which is the joint model's name here", words("one"))
        if not numbers or len(set(numbers)) != len(numbers) or not all(map(_is_seed, numbers)):
            refusals.add("seeds", "must be different whole numbers from 0 on, at least one, or how many", seeds)
        for argument, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not is_whole(value) or value < 1:
                refusals.add(argument, "must be a whole number of at least 1", value)
        refusals.check()
        named = {task.name: task for task in listed}
        found = [
            data
            if data is None and (argument == "validation" or (by_task and argument == "train"))
            else as_dataset(refusals, argument, data, named, batch_size=batch_size, shuffle=argument == "train")
            for argument, data in zip(("train", "test", "validation"), sets, strict=True)
        ]
    # Alone, a task has no other labels to ask.
    return listed, numbers, [None if data is None else datasets.in_task_space(data, listed) for data in found]
