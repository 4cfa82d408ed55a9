"""What holds each task back in joint training, by short trainings jointly and alone."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, is_whole, known_keywords, words
from kmtl.evidence.diagnosis.causes import findings
from kmtl.evidence.diagnosis.diagnosis import Diagnosis
from kmtl.evidence.diagnosis.diagnosis_runs import Runs, Trial
from kmtl.feeding import as_dataset
from kmtl.feeding.datasets import refuse_endless
from kmtl.tasks import Task
from kmtl.training.builds import Build, checked_tasks, refuse_build
from kmtl.training.same_build import check_same

_FORM = "diagnose(build, tasks, train, validation, epochs=...)"
# A curve of fewer points has no slope.
_LEAST_EPOCHS = 4


@known_keywords
def diagnose(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    validation: Any,
    *,
    epochs: int,
    seeds: int | Sequence[int] = 3,
    batches: int = 4,
    batch_size: int = 32,
    callbacks: Callable[[], list[Any]] | None = None,
    verbose: Any = "auto",
) -> Diagnosis:
    """Trains all tasks jointly and each one alone, equally many updates, and says what holds each back and what to do.

    | cause | sign, in every initialisation | remedy |
    | --- | --- | --- |
    | dead | no gradient reaches the shared weights, or the output is constant | mend the graph |
    | no signal | validation no better than guessing, jointly and alone, and with no prospect | check labels |
    | starved | fits and predicts worse than alone, with under a fifth of an equal share of the pull | weigh |
    | short training | loss still falls, on validation data too | lengthen |
    | conflict | worse than alone and flat; gradients of a pair oppose from the first step | split off |
    | narrow trunk | worse than alone and flat, without such a pair | widen |
    | overfit | validation loss rises while the training loss falls | regularise |

    A cause is named only where it shows in every initialisation, and the 95 % Student interval of its figure leaves the
    threshold out; what lies in between is told as undecided. Which task loses room may differ between initialisations:
    then the mean over the tasks has to. Cosines alone name nothing: where a joint training has come to rest the
    gradients of two tasks oppose each other whatever the tasks are, since their sum is 0. So a conflict is one that is
    there before the first step, at eight initialisations, goes on, and keeps the losses above those alone.

    The cost is `seeds` x (K + 1) trainings of K tasks. Steps are traced once a task, if the models of `build` have
    one form.

    Source: gradient norms and condition number before cosines, AutoScale, arXiv 2508.13979; cosines over shared rows
    only, arXiv 2604.07848; underfitting of joint models at equal weights, Kurin et al., "In Defense of the Unitary
    Scalarization for Deep Multi-Task Learning", NeurIPS 2022.

    Args:
        build: `build(tasks)`: makes a compiled `MultiTaskModel` for the tasks it is given.
        tasks: The tasks, two or more.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays.
        validation: The same, of other rows.
        epochs: Of each training, 4 or more; of a large set let an epoch be a part of it, `train.take(n)`.
        seeds: Initialisations, or how many; of one no finding is made.
        batches: Batches of `train` on which the gradients are looked at, four times a joint training.
        batch_size: Of arrays.
        callbacks: Makes fresh callbacks for each training.
        verbose: As in `fit`; unless it is 0 each training is announced and followed by the time that is left.

    Returns:
        A `Diagnosis`: print it, `plot()` it, take its `findings`, `undecided`, `table()`.

    Raises:
        ValueError: With all offenders, before anything is trained.
    """
    with Refusals("diagnose") as refusals:
        refuse_build(refusals, build)
        listed = checked_tasks(refusals, tasks, _FORM, least=2)
        numbers = _checked_numbers(refusals, epochs, seeds, batches, batch_size)
        refusals.check()
        named = {task.name: task for task in listed}
        sets = [
            _checked_set(refusals, argument, data, named, batch_size)
            for argument, data in (("train", train), ("validation", validation))
        ]
    held_in, held_out = (datasets.in_task_space(data, listed) for data in sets)
    trial = Trial(listed, held_in, held_out, epochs, numbers, batches)
    runs = Runs(trial, Build(build, "diagnose"), callbacks, verbose)
    _check_build(lambda: runs.trainer.model(listed, seed=numbers[0], names=runs.names))
    start = time.perf_counter()
    runs.run()
    figures, pairs = runs.figures(), runs.pairs()
    cost = {"seeds": len(numbers), "trainings": len(numbers) * (1 + len(listed)), "epochs": epochs}
    condition = float(np.median([probe.conditions[-1] for probe in runs.probes]))
    told = findings(figures, pairs)
    return Diagnosis(figures, pairs, told, condition, {**cost, "seconds": time.perf_counter() - start})


def _check_build(make: Callable[[], Any]) -> None:
    """Refuses a model that shares nothing, warns of one that differs each time."""
    models: list[Any] = []

    def kept() -> Any:
        models.append(make())
        return models[-1]

    check_same("diagnose", kept)
    if not (models[0].setup.shared or models[0].shared_variables):
        with Refusals("diagnose") as refusals:
            fix = "Let the tasks share a trunk."
            refusals.add("build", "must make a model whose tasks share trainable weights", words("none"), fix)


def _checked_numbers(refusals: Refusals, epochs: Any, seeds: Any, batches: Any, batch_size: Any) -> list[int]:
    """The seeds; records what is no number."""
    for argument, value, least in (
        ("epochs", epochs, _LEAST_EPOCHS),
        ("batches", batches, 1),
        ("batch_size", batch_size, 1),
    ):
        if not is_whole(value) or value < least:
            fix = (
                "A curve needs points: let an epoch be a part of the data, train.take(n)."
                if argument == "epochs"
                else ""
            )
            refusals.add(argument, f"must be a whole number of at least {least}", value, fix)
    numbers = range(max(seeds, 0)) if is_whole(seeds) else seeds
    numbers = list(numbers) if isinstance(numbers, Iterable) else []
    good = all(is_whole(number) and 0 <= number < 2**32 for number in numbers)
    if not numbers or not good or len(set(numbers)) != len(numbers):
        refusals.add("seeds", "must be different whole numbers from 0 on, at least one, or how many", seeds)
    return numbers


def _checked_set(refusals: Refusals, argument: str, data: Any, named: dict[str, Task], batch_size: int) -> Any:
    """A set as a dataset; validation has no default, since fit alone tells nothing of what is learned."""
    if data is None:
        refusals.add(argument, "must be given", words("none"), "Hold rows out: kmtl.data.split.")
        return None
    found = as_dataset(refusals, argument, data, named, batch_size=batch_size, shuffle=argument == "train")
    refuse_endless(refusals, argument, found)
    return found
