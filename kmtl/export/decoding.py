"""From a task's raw output to what a reader wants: a label and its probability, a value in its unit."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmtl import _checks
from kmtl._keras_private import loss_arguments
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Task

_EVEN = 0.5

Outputs = dict[str, Any]


def refuse(refusals: _checks.Refusals, model: Any, outputs: Iterable[str]) -> None:
    """Records why the outputs of a model cannot be decoded."""
    tasks: Mapping[str, Task] = getattr(model, "tasks", None) or {}
    names = list(outputs)
    if names and not tasks:
        fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, tasks)."
        refusals.add("decode", "needs a model that knows its tasks", _checks.words(type(model).__name__), fix)
        return
    keys = [key for name in names for key in _keys(tasks[name])]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        refusals.add("decode", "must give every output its own name", key, "Rename the task of that name.")
    for name in names:
        if _gives_logits(tasks[name]):
            fix = "End the output in its activation and leave from_logits out of the loss."
            refusals.add("decode", f"needs probabilities of task {name!r}", _checks.words("logits"), fix)
        for label in tasks[name].label_names or ():
            if not _is_unicode(label):
                refusals.add("decode", f"needs label names of task {name!r} in Unicode", label)


def _gives_logits(task: Task) -> bool:
    """Whether a task's loss says that its output is no probability yet."""
    loss = task.resolved_loss()
    return bool(getattr(loss, "from_logits", False) or loss_arguments(loss).get("from_logits", False))


def _is_unicode(label: str) -> bool:
    """Whether a text can be written at all; half of a surrogate pair cannot."""
    return label.encode("utf-8", "ignore").decode("utf-8") == label


def _keys(task: Task) -> list[str]:
    """Names of what is decoded from a task's output."""
    if isinstance(task, Classification | BinaryClassification | MultiLabel):
        return [f"{task.name}_label", f"{task.name}_probability"]
    return [task.name]


def decoded(tasks: Mapping[str, Task], outputs: Mapping[str, Any]) -> Outputs:
    """Reads raw outputs.

    A classification gives `<task>_label`, its name if the task has label names and else its number, and
    `<task>_probability`, both `(batch,)`. Yes or no gives the likelier of both and that one's probability, and so does
    each label of several at once, `(batch, labels)`. A regression gives its values, a single one as `(batch,)`.

    Args:
        tasks: The tasks by name.
        outputs: Raw outputs `(batch, units)` by task name.

    Returns:
        What was read, by name.
    """
    found: Outputs = {}
    for name, values in outputs.items():
        task = tasks[name]
        read = next((reader for kind, reader in _READERS.items() if isinstance(task, kind)), _value)
        found.update(zip(_keys(task), read(task, values), strict=True))
    return found


def _class(task: Any, values: Any) -> tuple[Any, ...]:
    """The likeliest class."""
    best = tf.argmax(values, axis=-1)
    return _named(task.label_names, best), tf.reduce_max(values, axis=-1)


def _yes_or_no(task: Any, values: Any) -> tuple[Any, ...]:
    """The likelier of no and yes."""
    answer, probability = _answers(values[:, 0])
    return _named(task.label_names, answer), probability


def _several(task: Any, values: Any) -> tuple[Any, ...]:
    """Each label: 1 or 0, or with names its name or nothing."""
    answers, probabilities = _answers(values)
    if task.label_names is None:
        return answers, probabilities
    names = tf.broadcast_to(tf.constant(task.label_names), tf.shape(answers))
    return tf.where(answers > 0, names, ""), probabilities


def _answers(values: Any) -> tuple[Any, Any]:
    """Yes from one half on, as Keras's accuracy counts, and the probability of that answer."""
    yes = values > _EVEN
    return tf.cast(yes, tf.int64), tf.where(yes, values, 1.0 - values)


def _value(task: Any, values: Any) -> tuple[Any, ...]:
    """The value as its label is shaped."""
    return (tf.reshape(values, (-1, *task.label_shape)),)


def _named(names: tuple[str, ...] | None, numbers: Any) -> Any:
    """Label names for class numbers, where there are names."""
    return numbers if names is None else tf.gather(tf.constant(names), numbers)


_READERS: dict[type[Task], Callable[[Any, Any], tuple[Any, ...]]] = {
    Classification: _class,
    BinaryClassification: _yes_or_no,
    MultiLabel: _several,
}
