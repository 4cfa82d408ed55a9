"""Runs a model and an artifact of it on the same samples, and compares every task."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl.export import signatures
from kmtl.export.lite import batching, running, scoring

_AT_ONCE = 64


def measure(
    model: Any, outputs: Mapping[str, Any], run: running.Run, batches: batching.Batches, *, owner: str
) -> tuple[int, tuple[scoring.TaskQuality, ...]]:
    """Runs model and artifact on the same batches.

    Args:
        model: A functional model.
        outputs: Its output tensors by task name; those that the artifact lacks are left out.
        run: Runs the artifact.
        batches: Gives the samples.
        owner: For the messages.

    Returns:
        The number of samples, and one row a task and metric.

    Raises:
        ValueError: If the artifact has no task of the model or gives another shape.
    """
    part = signatures.inference_part(model, outputs)
    seen = [(labels, _keras_outputs(part, inputs), run(inputs)) for inputs, labels in _pieces(batches)]
    labels, before, found = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *seen)
    after = _by_task(before, found, owner)
    rows = scoring.rows(model, labels, {task: before[task] for task in outputs if task in after}, after)
    return len(next(iter(before.values()))), rows


def _pieces(batches: batching.Batches) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Cuts batches into pieces that fit any memory."""
    for inputs, labels in batches():
        for start in range(0, len(next(iter(inputs.values()))), _AT_ONCE):
            end = start + _AT_ONCE
            yield (
                {name: array[start:end] for name, array in inputs.items()},
                {task: np.asarray(array)[start:end] for task, array in labels.items()},
            )


def _keras_outputs(part: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the Keras model in inference mode, on the CPU as the artifact is."""
    with tf.device("CPU:0"):
        outputs = part([tf.constant(inputs[tensor.name]) for tensor in part.inputs], training=False)
    return {task: values.numpy() for task, values in outputs.items()}


def _by_task(before: Mapping[str, Any], found: Mapping[str, Any], owner: str) -> dict[str, list[Any]]:
    """Returns what each task's signatures gave; refuses an artifact of another model."""
    after = {
        task: [found[name][task] for name in (signatures.JOINT, task) if task in found.get(name, {})] for task in before
    }
    after = {task: arrays for task, arrays in after.items() if arrays}
    wrong = {task: arrays[0].shape for task, arrays in after.items() if arrays[0].shape != before[task].shape}
    got = _checks.words(str(wrong or list(found)))
    rule = "must give tasks of the model in its shapes"
    _checks.require(bool(after) and not wrong, owner, "artifact", rule, got, "Export it again from this model.")
    return after
