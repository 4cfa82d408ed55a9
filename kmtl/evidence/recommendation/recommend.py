"""What to ship: tasks alone, one joint model, or a few models behind one face, within a budget of trainings."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kmtl import data as datasets
from kmtl._checks import Refusals, is_number, is_whole, known_keywords, words
from kmtl.evidence.recommendation.full_race import full_race
from kmtl.evidence.recommendation.paired_scores import has_better_end, row_scores
from kmtl.evidence.recommendation.probe_race import probe_race
from kmtl.evidence.recommendation.race import Race
from kmtl.evidence.recommendation.race_plan import Plan
from kmtl.evidence.recommendation.recommendation import Recommendation
from kmtl.evidence.recommendation.recommendation_file import save_recommendation
from kmtl.evidence.recommendation.serving_choice import Choice
from kmtl.feeding import as_dataset, look_at
from kmtl.feeding.datasets import refuse_endless
from kmtl.tasks import Task
from kmtl.training.builds import Build, checked_tasks, refuse_build
from kmtl.training.combined import combined
from kmtl.training.rows_in_memory import rows_of
from kmtl.training.same_build import check_same
from kmtl.training.trainer import Trainer
from kmtl.training.work import Given

_FORM = "recommend(build, tasks, train, validation, epochs=...)"
# Below it the tasks alone are probed only: nothing would be left for a joint model.
_FULL = 1.5
# Of validation data, where there are no others for the report.
_FOR_CHOICE = 2 / 3


@known_keywords
def recommend(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    validation: Any,
    *,
    epochs: int,
    budget: float = 2.0,
    test: Any = None,
    seed: int = 0,
    margin: float = 1.0,
    folder: Any = None,
    batch_size: int = 32,
    callbacks: Callable[[], list[Any]] | None = None,
    verbose: Any = "auto",
) -> Recommendation:
    """Finds the smallest model, or few models behind one face, that is not worse than each task alone on any task.

    Within a budget it trains every task alone, which is the yardstick and the way out, and spends the rest on joint
    models that spend what sharing saves: a trunk of half or all of the weights that the single models have together, a
    hidden layer in each head where there is room, up to twice the epochs (`kmtl.training.widened`, `stretched`), and
    gradients brought half of the way to one length (`kmtl.balancers.Unit(power=0.5)`). Half of the weights come first:
    if that model holds up, nothing larger is needed. Where neither size holds up on every task and the budget lasts, a
    student of the single models, gradients of one length, more weight on the tasks that lost, and groups of tasks whose
    gradients agree follow. A task for which no joint model holds up keeps its own. Where that leaves nothing to save,
    it says so and ships the single models.

    A task holds up in a candidate if its change against alone, on the data for choosing, is at most `margin` times
    its standard error over rows (by the jackknife), under every seed that the candidate was trained with: of models
    that are alike within one standard error the simplest is taken (Breiman, Friedman, Olshen and Stone,
    "Classification and Regression Trees", 1984). What budget is left when a candidate holds up goes into a second seed
    of it. The figures of the report are of other rows: of `test`, or of a third of `validation` that choosing did not
    see.

    A budget of 1 cannot pay for the yardstick: the single models are then probes of a quarter of the epochs, and so is
    the joint model that is held against them; what follows is said to be a guess.

    Args:
        build: `build(tasks)`: makes a compiled `MultiTaskModel` for the tasks it is given. With a parameter `width`,
            `build(tasks, width=1.0)`, it is asked for wider trunks; else its trunk is made again from its configuration
            with other widths.
        tasks: Two tasks or more, in order.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays.
        validation: The same, for choosing.
        epochs: Of one training.
        budget: What may be spent, in trainings of every task alone over these epochs; at least 1.
        test: The same as `validation`, for the report; None takes a third of `validation`.
        seed: Random seed of the first training of each candidate.
        margin: How much worse than alone a task may look and still count as not worse, in standard errors over rows,
            at least 0; a larger one ships smaller models.
        folder: Where everything is kept: a call that was killed goes on, and decides alike; `kmtl.evidence.load` reads
            the result back. None keeps nothing.
        batch_size: Of arrays.
        callbacks: Makes fresh callbacks for each training.
        verbose: As in `fit`.

    Returns:
        A `Recommendation`: print it, take its `model`, `save` or `plot()` it, or give it to `kmtl.evidence.report`.

    Raises:
        ValueError: With all offenders, before anything is trained.
    """
    given, choice, held_out = _checked(
        Given(build, tasks, train, validation, epochs, seed, batch_size, callbacks, verbose, folder),
        test,
        budget,
        margin,
    )
    race = Race(given, choice, float(budget))
    plan = Plan(race, _weights_alone(given), float(margin))
    check_same("recommend", lambda: _trainer(given).model(given.tasks, seed=given.seed))
    (full_race if budget >= _FULL else probe_race)(plan)
    chosen = plan.choice()
    model = _served(plan, chosen)
    alone = plan.alone
    report = row_scores(model, held_out, "recommend")
    base = None if alone is None else row_scores(alone.model, held_out, "recommend")
    found = Recommendation.of(plan, chosen, model, report, base, is_split=test is None)
    if folder is not None:
        save_recommendation(found, Path(os.path.expanduser(folder)))
    return found


def _trainer(given: Given) -> Trainer:
    """Builds models from a seed."""
    return Trainer(Build(given.build, "recommend"), owner="recommend")


def _weights_alone(given: Given) -> dict[str, int]:
    """Weights of each task's own model."""
    trainer = _trainer(given)
    return {
        task.name: int(trainer.model([task.alone()], seed=given.seed, names=[task.name]).count_params())
        for task in given.tasks
    }


def _served(plan: Plan, chosen: Choice) -> Any:
    """One model of all tasks, each from the model that serves it."""
    sources = {task.name: plan.model(chosen.serves[task.name], task.name) for task in plan.race.given.tasks}
    models = {id(model): model for model in sources.values()}
    return next(iter(models.values())) if len(models) == 1 else combined(sources)


def _checked(given: Given, test: Any, budget: Any, margin: Any) -> tuple[Given, Any, Any]:
    """Tasks and data as recipes take them, the data for choosing and those for the report; refuses what cannot be."""
    with Refusals("recommend") as refusals:
        refuse_build(refusals, given.build)
        tasks = checked_tasks(refusals, given.tasks, _FORM, 2)
        _refuse_numbers(refusals, given, budget, margin)
        refusals.check()
        named = {task.name: task for task in tasks}
        sets = {"train": given.train, "validation": given.validation, "test": test}
        found = {
            argument: None
            if data is None
            else as_dataset(refusals, argument, data, named, batch_size=given.batch_size, shuffle=argument == "train")
            for argument, data in sets.items()
        }
        for argument, data in found.items():
            refuse_endless(refusals, argument, data)
    found = {key: None if data is None else datasets.in_task_space(data, tasks) for key, data in found.items()}
    choice, held_out = (found["validation"], found["test"])
    names = ("validation", "test")
    if held_out is None:
        choice, held_out = _halves(choice, tasks)
        names = ("validation, the part for choosing", "validation, the part for the report")
    for name, data in zip(names, (choice, held_out), strict=True):
        look_at(data, named, f"recommend({name})")
    _refuse_metrics(given, tasks)
    return given._replace(tasks=tasks, train=found["train"], validation=choice), choice, held_out


def _refuse_numbers(refusals: Refusals, given: Given, budget: Any, margin: Any) -> None:
    """Records what is out of its range, and validation data that are not there."""
    for argument, value in (("epochs", given.epochs), ("batch_size", given.batch_size)):
        if not is_whole(value) or value < 1:
            refusals.add(argument, "must be a whole number of at least 1", value)
    if not is_whole(given.seed) or not 0 <= given.seed < 2**32 - 8:
        refusals.add("seed", "must be a whole number from 0 on", given.seed)
    if not is_number(budget) or budget < 1:
        fix = "1 pays for short probes and one joint model, 2 for every task alone and a race."
        refusals.add("budget", "must be 1 or more, in trainings of every task alone", budget, fix)
    if not is_number(margin) or margin < 0:
        refusals.add("margin", "must be a number of standard errors of at least 0", margin)
    if given.validation is None:
        fix = "Hold some rows back: kmtl.data.split(data, (0.8, 0.2))."
        refusals.add("validation", "must be given: models are chosen by it", None, fix)


def _halves(validation: Any, tasks: Sequence[Task]) -> tuple[Any, Any]:
    """Validation data for choosing, and for the report."""
    rows = rows_of(validation)
    if rows.number < 8:
        with Refusals("recommend") as refusals:
            fix = "Give more, or `test` beside it."
            refusals.add("validation", "must hold rows to choose by and others to report on", rows.number, fix)
    parts = datasets.split((rows.x, rows.y), (_FOR_CHOICE, 1 - _FOR_CHOICE), stratify=list(tasks))
    choice, held_out = (
        datasets.from_arrays(x, y, list(tasks), batch_size=rows.batch_size, shuffle=False) for x, y in parts
    )
    return choice, held_out


def _refuse_metrics(given: Given, tasks: Sequence[Task]) -> None:
    """Refuses a task without a metric whose better end is known: nothing would tell whether it is worse."""
    model = _trainer(given).model(list(tasks), seed=given.seed, names=[task.name for task in tasks])
    keys: Mapping[str, list[str]] = {task.name: [] for task in tasks}
    for task in tasks:
        known = [key.removeprefix(f"{task.name}_") for key in model.metrics_names if key.startswith(f"{task.name}_")]
        keys[task.name].extend(metric for metric in known if metric != "loss" and has_better_end(task, metric))
    with Refusals("recommend") as refusals:
        for name, found in keys.items():
            if not found:
                fix = "Name it as Keras does, or give the metric object `_direction = 'up'` or 'down'."
                rule = f"must give {name!r} a metric whose better end is known"
                refusals.add("tasks", rule, words("none"), fix)
