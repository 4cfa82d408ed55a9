"""Class weights as sample weights, which is what Keras makes of them too."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl._checks import Refusals, known_keys, words
from kmtl.feeding.label_statistics import Census
from kmtl.tasks import Task


def class_tables(given: Any, tasks: Mapping[str, Task], census: Census | None, owner: str) -> dict[str, Any]:
    """Resolves class weights to one table of weights a task.

    Args:
        given: `{task: {class: weight} or "balanced"}` or None; it comes before the tasks' own.
        tasks: The tasks by name.
        census: Counts for `"balanced"`.
        owner: For the messages.

    Returns:
        `{task: (classes,)}` for the tasks that have class weights.

    Raises:
        ValueError: If a name, class or weight is wrong, or `"balanced"` has nothing to count.
    """
    chosen = {name: task.class_weight for name, task in tasks.items() if getattr(task, "class_weight", None)}
    with Refusals(owner) as refusals:
        if given is not None and not isinstance(given, Mapping):
            refusals.add("class_weight", "must be a dict keyed by task name", given)
            given = None
        known_keys(refusals, "class_weight", given or {}, tasks)
        chosen.update({name: given[name] for name in tasks if given and given.get(name) is not None})
        return {name: _table(refusals, tasks[name], value, census) for name, value in chosen.items()}


def _table(refusals: Refusals, task: Task, value: Any, census: Census | None) -> Any:
    """One weight a class, or a recorded refusal."""
    argument = f"class_weight[{task.name!r}]"
    classes = getattr(task, "classes", 0)
    if not classes or task.kind == "multilabel":
        refusals.add(argument, "must belong to a classification", words(task.kind), "Use `sample_weight`.")
        return None
    if isinstance(value, str) and value == "balanced":
        return _balanced(refusals, argument, task, census)
    if not isinstance(value, Mapping):
        refusals.add(argument, "must be a dict {class: weight} or 'balanced'", value)
        return None
    table = np.ones(classes, dtype="float32")
    for index, weight in value.items():
        number = isinstance(weight, int | float | np.number) and 0 <= weight < float("inf")
        if not isinstance(index, int | np.integer) or not 0 <= index < classes or not number:
            rule = f"must map classes 0..{classes - 1} to finite weights of at least 0"
            refusals.add(argument, rule, words(f"{index!r}: {weight!r}"))
        else:
            table[index] = weight
    return table


def _balanced(refusals: Refusals, argument: str, task: Task, census: Census | None) -> Any:
    """`n / (c * n_c)` over the c classes that occur, so that the mean weight of an example is 1."""
    if census is None:
        fix = "Pass a dict of weights; or let `fit` count, with `check=True`."
        refusals.add(argument, "needs the label counts to be 'balanced'", words("data that is not looked at"), fix)
        return None
    counts = census.tasks[task.name].counts
    occurring = max(int((counts > 0).sum()), 1)
    return np.where(counts > 0, counts.sum() / (occurring * np.maximum(counts, 1)), 1.0).astype("float32")
