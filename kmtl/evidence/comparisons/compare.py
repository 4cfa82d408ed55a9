"""Compares ways to train tasks jointly, under one budget."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kmtl import data as datasets
from kmtl._checks import Refusals, is_whole, known_keys, known_keywords
from kmtl.evidence.comparisons.comparison import Comparison
from kmtl.evidence.comparisons.comparison_rows import rows_of
from kmtl.evidence.comparisons.comparison_runs import ComparisonRuns, Contest
from kmtl.feeding import as_dataset
from kmtl.feeding.datasets import refuse_endless
from kmtl.tasks import Task
from kmtl.training import Recipe
from kmtl.training.builds import checked_tasks, refuse_build

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
    recipes: Mapping[str, Recipe] | None = None,
    builds: Mapping[str, Callable[..., Any]] | None = None,
    baseline: str | None = None,
    folder: Any = None,
    batch_size: int = 32,
    callbacks: Callable[[], list[Any]] | None = None,
    verbose: Any = "auto",
) -> Comparison:
    """Compares ways to train the tasks, a row each: same data, same budget, paired by seed.

    Without `recipes` the rows are each task alone, the joint model for the same epochs, and the joint model for K times
    the epochs, which is what the K single models cost together; a learning rate that follows a schedule is stretched
    with them. Joint training that loses at equal epochs may owe that to its K-th of the cost alone.

    Several processes share the work where the same script is started more than once with one `folder`: each takes
    runs that nobody else is at, and all return the whole table. A run whose process was killed is taken over.

    Args:
        build: `build(tasks)`: makes a compiled `MultiTaskModel` for the tasks it is given.
        tasks: The tasks, in order.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays. With `recipes` that all take such,
            as `Alternating` and `Separate`, also `{task: data}`.
        test: The same, for the scores.
        epochs: Of one training; what a recipe needs beside, its own options say as multiples of them.
        validation: The same, for the learning curves, and for what a recipe chooses by it; None draws the curves
            from the training logs.
        seeds: Random seeds, one training of each row a seed; a number n takes 0 to n - 1.
        recipes: `{name: recipe}` of `kmtl.training`; `Separate` is added if none is among them and `baseline` is None.
        builds: `{name: build}`: further joint models, of wider trunks or other heads: a row `Joint(build=build)` each.
        baseline: The row that the others are held against; None takes the single models.
        folder: Where finished runs are kept. Another call with the same tasks, data, epochs and models does not repeat
            them, may have more rows and seeds, and a run that was killed goes on inside its stage; one with others
            is refused. `kmtl.evidence.load(folder)` gives the comparison back. `callbacks` are not looked at. None
            keeps nothing.
        batch_size: Of arrays.
        callbacks: Makes fresh callbacks for each stage of a training.
        verbose: As in `fit`; unless it is 0, each run is announced and followed by the time that is left.

    Returns:
        A `Comparison`: print it, `plot()` it, take its `table()`, `delta_m`, `flags`, a row by name, the `model` of a
        row, or hold all `against` another row.

    Raises:
        ValueError: If there is no task, no seed or no epoch, one task and no recipe, a metric whose better end nobody
            knows, a recipe that cannot train the tasks, a `build` that returns something other than a compiled model
            of the tasks, or a folder of another comparison; before anything is trained.
    """
    by_task = recipes is not None and isinstance(train, Mapping)
    with Refusals("compare") as refusals:
        refuse_build(refusals, build)
        chosen = checked_tasks(refusals, tasks, _FORM)
        rows, base = rows_of(refusals, build, chosen, recipes, builds, baseline)
        numbers = _checked_numbers(refusals, seeds, epochs, batch_size)
        refusals.check()
        taken = _sets_by_task if by_task else functools.partial(_taken, "train")
        learned = taken(refusals, train, chosen, batch_size)
        tested = _taken("test", refusals, test, chosen, batch_size)
        refuse_endless(refusals, "test", tested)
        held_out = _taken("validation", refusals, validation, chosen, batch_size)
    contest = Contest(build, chosen, learned, tested, held_out, epochs, numbers, callbacks, verbose)
    return ComparisonRuns(contest, rows, base, folder).comparison()


def _is_seed(value: Any) -> bool:
    """Whether NumPy and Keras take it for one."""
    return is_whole(value) and 0 <= value < 2**32


def _checked_numbers(refusals: Refusals, seeds: Any, epochs: Any, batch_size: Any) -> list[int]:
    """The seeds; records numbers that are none."""
    numbers = range(max(seeds, 0)) if is_whole(seeds) else seeds
    numbers = list(numbers) if isinstance(numbers, Iterable) else []
    if not numbers or len(set(numbers)) != len(numbers) or not all(map(_is_seed, numbers)):
        refusals.add("seeds", "must be different whole numbers from 0 on, at least one, or how many", seeds)
    for argument, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not is_whole(value) or value < 1:
            refusals.add(argument, "must be a whole number of at least 1", value)
    return [int(number) for number in numbers if _is_seed(number)]


def _taken(argument: str, refusals: Refusals, data: Any, tasks: Sequence[Task], batch_size: int) -> Any:
    """Data as a dataset of batches; None for no validation."""
    if data is None and argument == "validation":
        return None
    named = {task.name: task for task in tasks}
    found = as_dataset(refusals, argument, data, named, batch_size=batch_size, shuffle=argument == "train")
    # Alone, a task has no other labels to ask.
    return None if found is None else datasets.in_task_space(found, tasks)


def _sets_by_task(
    refusals: Refusals, train: Mapping[str, Any], tasks: Sequence[Task], batch_size: int
) -> dict[str, Any]:
    """A dataset a task."""
    named = {task.name: task for task in tasks}
    known_keys(refusals, "train", train, named)
    refusals.check()
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}
    return {name: as_dataset(refusals, "train", data, named, **options) for name, data in train.items()}
