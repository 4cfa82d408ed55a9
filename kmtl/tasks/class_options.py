"""What tasks with classes share: the checks of their options, decisions, and a line of text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import is_number, is_whole, refusal, require
from kmtl.tasks.base import Task


def checked_names(task: Task, names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Returns the label names, or refuses a wrong number of them or one twice."""
    if names is None:
        return None
    listed = (names,) if isinstance(names, str) else tuple(map(str, names))
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
    good = good and all(is_number(value) and value >= 0 for value in table.values())
    rule = f"must map classes 0..{classes - 1} to finite weights of at least 0"
    require(good, task.owner, "class_weight", rule, dict(weights))
    return {int(key): float(value) for key, value in table.items()}


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


def described_class(task: Task, label: Any, output: Any) -> str:
    """One line: the label's class, the decided one, and a cross where they differ."""
    decided = int(ops.convert_to_numpy(task.decide(np.asarray(output)[None])).ravel()[0])
    known = label is not None and bool(np.all(task.present(np.asarray(label))))
    truth = int(np.ravel(label)[0]) if known else None
    cross = " ✗" if known and truth != decided else ""
    shown = "?" if truth is None else task.class_name(truth)
    return f"{task.name} {shown} → {task.class_name(decided)}{cross}"
