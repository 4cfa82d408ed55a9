"""From a task's raw output to what a reader wants: a label and its probability, a value in its unit."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from keras import ops

from kmtl import _checks
from kmtl.tasks import Task, is_logits, takes_logits


def refuse(refusals: _checks.Refusals, model: Any, outputs: Iterable[str]) -> None:
    """Records why the outputs of a model cannot be decoded."""
    tasks: Mapping[str, Task] = getattr(model, "tasks", None) or {}
    names = list(outputs)
    if names and not tasks:
        fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, tasks)."
        refusals.add("decode", "needs a model that knows its tasks", _checks.words(type(model).__name__), fix)
        return
    keys = [key for name in names for key in tasks[name].read_keys()]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        refusals.add("decode", "must give every output its own name", key, "Rename the task of that name.")
    for name in names:
        output = model.output[name] if isinstance(getattr(model, "output", None), Mapping) else None
        if takes_logits(tasks[name].resolved_loss()) or is_logits(tasks[name], output):
            fix = "End the output in its activation and leave from_logits out of the loss; or adopt the model by"
            fix = f"{fix} from_model(model, tasks, from_logits=True)."
            refusals.add("decode", f"needs probabilities of task {name!r}", _checks.words("logits"), fix)
        for label in tasks[name].label_names or ():
            if not _is_unicode(label):
                refusals.add("decode", f"needs label names of task {name!r} in Unicode", label)


def _is_unicode(label: str) -> bool:
    """Whether a text can be written at all; half of a surrogate pair cannot."""
    return label.encode("utf-8", "ignore").decode("utf-8") == label


def decoded(tasks: Mapping[str, Task], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Reads raw outputs, as each task does.

    Args:
        tasks: The tasks by name.
        outputs: Raw outputs `(batch, ...)` by task name.

    Returns:
        What was read, by name: of a task that decides `<task>_label` and `<task>_probability`, of another `<task>`.
    """
    return {
        "_".join(filter(None, (name, end))): values
        for name, output in outputs.items()
        for end, values in tasks[name].read(output).items()
    }


def decisions(task: Task | None, outputs: Any) -> Any:
    """Reads what is decided off raw outputs; None for values.

    Args:
        task: Whose outputs they are; None if nobody knows, and then several numbers are taken for scores of classes.
        outputs: Array `(batch, ...)`.

    >>> decisions(None, np.array([[0.1, 0.9], [0.8, 0.2]])).tolist(), decisions(None, np.array([[0.7]]))
    ([1, 0], None)
    """
    if task is not None:
        return ops.convert_to_numpy(task.decide(outputs)) if task.decides else None
    return np.argmax(outputs, axis=-1) if outputs.ndim > 1 and outputs.shape[-1] > 1 else None
