"""What affinities are measured of: a model, models of one task each, a build function, or the tasks alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, is_number, is_whole, near, words
from kmtl.evidence.affinities.representation_similarity import MEASURES
from kmtl.feeding.datasets import size_of
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import Task, TaskSpace
from kmtl.training.builds import checked_tasks, refuse_build
from kmtl.training.trainer import Trainer

# Which sources each kind takes.
KINDS = {
    "gradient": ("model", "build"),
    "lookahead": ("model", "build"),
    "label": ("tasks", "model", "build", "models"),
    "output": ("model", "build", "models"),
    "representation": ("build", "models"),
    "surrogate": ("model", "build"),
}
_WORDS = {
    "model": "a compiled kmtl.MultiTaskModel",
    "build": "a function build(tasks), with `tasks`",
    "models": "{task: model of that task alone}",
    "tasks": "the tasks",
}
_FORM = "affinity(build, data, tasks=[...], kind=...)"


class Source(NamedTuple):
    """What is measured; of `form` "model", "models", "build" or "tasks".

    Attributes:
        form: Which of them it is.
        given: The model, the models by task, the function, or the tasks.
        tasks: The tasks, in order.
    """

    form: str
    given: Any
    tasks: list[Task]

    @property
    def by_name(self) -> dict[str, Task]:
        """The tasks by name."""
        return {task.name: task for task in self.tasks}


class Settings(NamedTuple):
    """How much is trained and looked at; attributes as the arguments of `affinity`."""

    kind: Any
    epochs: Any
    seeds: Any
    batches: Any
    rows: Any
    rate: Any
    measure: Any
    layer: Any
    batch_size: Any
    verbose: Any


def checked_source(refusals: Refusals, source: Any, tasks: Any, kind: str) -> Source:
    """Returns what is measured, or raises with all that is wrong with it."""
    form = _form(source)
    if form not in KINDS[kind]:
        takes = " or ".join(_WORDS[name] for name in KINDS[kind])
        refusals.add("source", f"must be, of kind={kind!r}, {takes}", words(_WORDS.get(form, type(source).__name__)))
    if form != "build" and tasks is not None:
        refusals.add("tasks", "must be left out: `source` has its own", words("some"))
    refusals.check()
    listed = tasks if form == "build" else source if form == "tasks" else _own_tasks(refusals, source, form)
    if form == "build":
        refuse_build(refusals, source)
    chosen = checked_tasks(refusals, listed, _FORM, least=2)
    undefined = [task for task in chosen if not task.measurement_level] if kind in ("label", "output") else []
    for task in undefined:
        fix = f"Leave {task.name!r} out, or take kind='gradient'."
        rule = (
            "must have labels whose association is defined" if kind == "label" else "must have outputs of such labels"
        )
        refusals.add("tasks", rule, words(str(task)), fix)
    refusals.check()
    return Source(form, source, chosen)


def _form(source: Any) -> str:
    """Which of the sources it is; empty if none."""
    if isinstance(source, MultiTaskModel):
        return "model"
    if isinstance(source, keras.Model):
        return ""
    if isinstance(source, Mapping):
        return "models"
    if callable(source):
        return "build"
    return "tasks" if isinstance(source, Sequence) and not isinstance(source, str) else ""


def _own_tasks(refusals: Refusals, source: Any, form: str) -> list[Task]:
    """The tasks that a model, or models by task, bring along."""
    if form == "model":
        if not source.compiled:
            refusals.add("source", "must be compiled", words("an uncompiled model"), "Call compile(...) first.")
        return list(source.tasks.values())
    found = []
    for name, model in source.items():
        own = getattr(model, "tasks", {})
        if name not in own or not isinstance(model, MultiTaskModel):
            fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, [task])."
            refusals.add(
                "source", f"must hold for {name!r} a kmtl.MultiTaskModel of it", words(f"one of {[*own]}"), fix
            )
        else:
            found.append(own[name])
    refusals.check()
    return found


def check_settings(refusals: Refusals, given: Settings) -> None:
    """Records numbers out of range, and names that are unknown."""
    for argument, known in (("kind", KINDS), ("measure", MEASURES)):
        value = getattr(given, argument)
        if value not in known:
            refusals.add(argument, "must be known", value, near(str(value), known))
    for argument in ("epochs", "batches", "batch_size", "rows"):
        value = getattr(given, argument)
        if value is not None and (not is_whole(value) or value < 1):
            refusals.add(argument, "must be a whole number of at least 1", value)
    if given.rate is not None and (not is_number(given.rate) or given.rate <= 0):
        refusals.add("rate", "must be a finite number above 0", given.rate)
    for argument, kind in (("layer", "representation"), ("rate", "lookahead")):
        value = getattr(given, argument)
        if value is not None and given.kind != kind:
            refusals.add(argument, f"must be left out but for kind={kind!r}", value)


def checked_seeds(refusals: Refusals, seeds: Any, source: Source, kind: str) -> list[int]:
    """Returns the seeds, one training each; none where nothing is trained."""
    trains = source.form == "build" and kind != "label"
    if not trains:
        if seeds is not None:
            refusals.add("seeds", "must be left out: nothing is trained", seeds)
        return []
    if seeds is None:
        # A joint training a seed is cheap; one a task and seed is not.
        seeds = 3 if kind in ("gradient", "lookahead") else 1
    numbers = list(range(max(seeds, 0)) if is_whole(seeds) else seeds if isinstance(seeds, Iterable) else [])
    good = all(is_whole(seed) and 0 <= seed < 2**32 for seed in numbers)
    if not numbers or not good or len(set(numbers)) != len(numbers):
        refusals.add("seeds", "must be different whole numbers from 0 on, at least one, or how many", seeds)
    return numbers


def first_rows(data: Any, tasks: Sequence[Task], number: int, *, inputs: bool) -> tuple[Any, dict[str, Any]]:
    """The first rows of a dataset: their inputs, None if they are not wanted, and their labels in the tasks' space."""
    kept, labels, count = [], [], 0
    for x, y, *_ in data.as_numpy_iterator():
        size = len(keras.tree.flatten(x)[0])
        found = {
            task.name: task.cast_labels(y[task.name]) if task.name in y else task.absent_labels(size) for task in tasks
        }
        labels.append(TaskSpace(tasks).mask(found))
        kept += [x] if inputs else []
        count += size
        if count >= number:
            break
    joined = (
        {task.name: np.concatenate([part[task.name] for part in labels])[:number] for task in tasks} if labels else {}
    )
    x = keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:number], *kept) if kept else None
    return x, joined


def batches_of(data: Any) -> int:
    """How many batches an epoch of a training set has."""
    size = size_of(data)
    return sum(1 for _ in data) if size is None else int(size)


def single_models(
    trainer: Trainer, source: Source, train: Any, epochs: int, seed: int, take: Callable[..., Any]
) -> Any:
    """Trains a model of each task alone; returns what is taken of each, by `take(model, task)`."""
    found, space = [], datasets.in_task_space(train, source.tasks)
    for task in source.tasks:
        model = trainer.model([task.alone()], seed=seed, names=[task.name])
        trainer.fit(model, datasets.only(space, [task.name]), epochs=epochs)
        found.append(take(model, task))
    return found
