"""What a model says of labelled data, beside the labels."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, near, require, words
from kmtl.feeding import feed
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.label_statistics import DataStatistics, check_statistics
from kmtl.tasks.shapes import known_shape


def chosen_tasks(refusals: Refusals, model: Any, tasks: Any) -> list[str]:
    """Returns the names of the tasks to look at, all for None, and records those that the model does not have.

    Args:
        refusals: Where to record.
        model: A `MultiTaskModel`.
        tasks: Names, or None.
    """
    known = getattr(model, "tasks", None) or {}
    if not known:
        fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, tasks)."
        refusals.add("model", "must know its tasks", words(type(model).__name__), fix)
        return []
    listed = list(known) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    for name in listed:
        if name not in known:
            refusals.add("tasks", "must be tasks of the model", name, near(str(name), known))
    return [name for name in listed if name in known]


def labelled_outputs(
    model: Any, data: Any, y: Any, owner: str, look: Callable[[Any, Any, Any], None] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Runs a model over labelled data, batch by batch.

    Args:
        model: A `MultiTaskModel`.
        data: Arrays with `y`, a tuple `(x, {task: labels})`, or a stream of such batches that ends.
        y: `{task: labels}`; None where `data` holds them.
        owner: For the messages.
        look: Called with inputs, `{task: labels}` and `{task: outputs}` of each batch.

    Returns:
        `{task: (labels, outputs)}`, of the same length; a task that the data does not label has missing ones.

    Raises:
        ValueError: If the data does not fit, has no end, or holds labels that the tasks do not have.
    """
    if y is None and isinstance(data, tuple):
        data, y = data[:2]
    given = feed(data, y, None, model.tasks, owner, all_needed=False, form=InputForm.of(model.input))
    got = words("a stream without end")
    require(given.size != math.inf, owner, "data", "must end", got, "Cut the dataset with take(n).")
    statistics, labels, outputs = DataStatistics(model.tasks), [], []
    for batch in given.batches(None):
        statistics.update(*batch)
        labels.append(statistics.space.mask(keras.tree.map_structure(np.asarray, batch[1])))
        # Arrays are one batch to the look at the data, but many to the model.
        outputs.append(model.predict_on_batch(batch[0]) if given.y is None else model.predict(batch[0], verbose=0))
        if look is not None:
            look(batch[0], labels[-1], outputs[-1])
    check_statistics(statistics, (), owner, all_needed=False)
    return {name: (_joined(labels, name), _joined(outputs, name)) for name in model.tasks}


def _joined(parts: Any, name: str) -> Any:
    """One task's arrays of all batches."""
    return np.concatenate([np.asarray(part[name]) for part in parts])


def gives_probabilities(task: Any) -> bool:
    """Whether a task's outputs are read as probabilities of classes."""
    return task.class_probabilities(np.zeros((1, *known_shape(task.output_shape)), "float32")) is not None


def of_classes(task: Any, labels: Any, outputs: Any) -> tuple[Any, Any, Any]:
    """Brings a task of classes into rows, one an element of a label that is there.

    Args:
        task: The task.
        labels: `(n, ...)`, missing ones included.
        outputs: `(n, *output_shape)`.

    Returns:
        Labels `(rows,)`, probabilities `(rows, classes)` in float64, and the element of the label that each row is,
        `(rows,)`: 0 where a label, or a place of it, has one element.
    """
    probabilities = np.asarray(task.class_probabilities(outputs), "float64")
    truth = np.reshape(labels, probabilities.shape[:-1])
    own = truth.shape[1 + task.dense_axes :]
    element = np.broadcast_to(np.arange(math.prod(own)).reshape(own), truth.shape)
    there = np.asarray(task.present(truth))
    return truth[there].astype("int64"), probabilities[there], element[there]
