"""What tasks with classes share: the checks of their options, decisions, and a line of text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import is_weight, is_whole, plain_text, refusal, require, words
from kmtl.tasks.base import Task


def checked_names(task: Task, names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Returns the label names, or refuses a wrong number of them, one twice, or what a terminal would obey."""
    if names is None:
        return None
    given = (names,) if isinstance(names, str) else map(str, names)
    listed = tuple(plain_text(task.owner, "label_names", name) for name in given)
    rule = f"must hold {count} different names, one a label"
    require(len(listed) == count and len(set(listed)) == count, task.owner, "label_names", rule, listed)
    return listed


def checked_class_weight(task: Task, weights: Any, classes: int) -> dict[int, float] | str | None:
    """Returns the class weights keyed by int, or refuses unknown classes and negative weights."""
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return weights
    if not isinstance(weights, Mapping):
        rule = "must be a dict of class to weight or 'balanced'"
        raise ValueError(refusal(task.owner, "class_weight", rule, weights))
    # JSON turns int keys into strings; a reloaded model gives them back so.
    table = {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in weights.items()}
    good = all(is_whole(key) and 0 <= key < classes for key in table)
    good = good and all(map(is_weight, table.values()))
    rule = f"must map classes 0..{classes - 1} to weights of at least 0 that are finite in float32"
    require(good, task.owner, "class_weight", rule, dict(weights))
    return {int(key): float(value) for key, value in table.items()}


def checked_factors(task: Task, names: Any) -> tuple[str, ...]:
    """Returns the names of the tasks whose outputs make a product, or refuses what are none, and a head beside it."""
    listed = tuple(names) if isinstance(names, Sequence) and not isinstance(names, str) else (names,)
    if listed:
        other = all(isinstance(name, str) and name != task.name for name in listed)
        rule, fix = "must name at least two other tasks", "For example ('click', 'conversion_given_click')."
        several = other and len(listed) == len(set(listed)) > 1
        require(several, task.owner, "product_of", rule, names, fix)
        head = {"hidden": task.hidden, "dropout": task.dropout, "l1": task.l1, "l2": task.l2}
        given = [key for key, value in head.items() if value]
        fix = f"Leave out {', '.join(given)}: the heads of {', '.join(listed)} have their own."
        require(not given, task.owner, "product_of", "must stand without a head", words(f"{listed} and {given}"), fix)
    return listed


def yes_or_no(outputs: Any, threshold: Any = 0.5) -> Any:
    """Decides probabilities: yes above the threshold, one or one a label; int64."""
    if isinstance(threshold, tuple):
        outputs, threshold = ops.cast(outputs, "float32"), np.asarray(threshold, "float32")
    return ops.cast(outputs > threshold, "int64")


def likelier(answers: Any, outputs: Any) -> Any:
    """Probability of the answer that was decided."""
    return ops.where(answers > 0, outputs, 1.0 - outputs)


def likeliest(outputs: Any) -> Any:
    """The class of the highest probability, int64."""
    return ops.cast(ops.argmax(outputs, axis=-1), "int64")
