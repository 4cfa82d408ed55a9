"""What an export costs: every task's metrics by the Keras model and by the artifact, side by side."""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl._table import Result, Table
from kmtl.export import artifacts, sampling, signatures
from kmtl.export.lite import batching, running, scoring

_OWNER = "quality"
_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, repr=False)
class Quality(Result):
    """What `quality` found: print it, or take its `table()`.

    Attributes:
        artifact: Path of what was run.
        samples: Number of samples.
        rows: One entry a task and metric, in the model's order.
    """

    artifact: str
    samples: int
    rows: tuple[scoring.TaskQuality, ...]

    @property
    def worst(self) -> float:
        """Returns the largest change of any row, in percent; -infinity if no row has one."""
        return max((row.change for row in self.rows if row.change is not None), default=-math.inf)

    def parts(self) -> list[str | Table]:
        """The rows under a line on the artifact."""
        rows = [
            {"task": row.task, "metric": row.metric, "before": row.before, "after": row.after, "change %": row.change}
            for row in self.rows
        ]
        head = f"{self.artifact}: {self.samples} samples, before (Keras model) and after"
        return [head, Table(rows, {"before": ".5g", "after": ".5g", "change %": "+.2f"})]


def quality(model: Any, artifact: str | os.PathLike[str], x: Any, y: Any = None) -> Quality:
    """Measures every task by the Keras model and by an artifact of it, on the same samples.

    With labels, the tasks' own unweighted metrics are compared, each over the examples that carry its label. Without
    them, or for a task that has no label or no usable metric, it is the agreement with the Keras model: the share of
    equal decisions for a classification, and for all else

        r2_against_keras = min_d 1 - MSE_d / variance_d of element d of the Keras outputs

    A regression of several elements always has this row, because its metric may be ruled by the largest.

    The artifact runs in this process, in its joint signature and in each task's own; the worse one counts.

    Args:
        model: The model that was exported.
        artifact: A version's folder or a `.tflite` file, of some or all of the tasks.
        x: Inputs as `check` takes them, or a `tf.data.Dataset` of batches `(x, {task: labels})`.
        y: `{task: labels}`, missing ones allowed; None for a dataset or for no labels.

    Returns:
        A table, one row a task and metric; print it.

    Raises:
        ValueError: If the artifact is neither form or has other outputs, or samples or labels do not fit the model.

    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> import kmtl.export
    >>> row = keras.Input((4,), name="row")
    >>> model = keras.Model(row, {"width": keras.layers.Dense(2)(row)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = kmtl.export.litert(model, folder + "/m.tflite")
    ...     print(quality(model, path, np.eye(4)).rows[0].metric)
    r2_against_keras
    """
    path = Path(artifact)
    with _checks.Refusals(_OWNER) as refusals:
        outputs = signatures.task_outputs(refusals, model)
        artifacts.refuse_form(refusals, path, "SavedModel", "LiteRT")
        batches = _batches(refusals, model, x, y) if outputs else list
    run = running.runner(path.read_bytes()) if path.is_file() else _saved_model_runner(path, outputs)
    count, rows = measure(model, outputs, run, batches, owner=_OWNER)
    return Quality(str(path), count, rows)


def _batches(refusals: _checks.Refusals, model: Any, x: Any, y: Any) -> batching.Batches:
    """Returns the samples as batches and records what does not fit."""
    if y is not None or isinstance(x, tf.data.Dataset):
        return batching.labelled_batches(refusals, model, x, y)
    return batching.unlabelled_batches(sampling.arrays(refusals, model, x, argument="x"))


def _saved_model_runner(path: Path, names: Iterable[str]) -> running.Run:
    """Returns a function that runs the base signatures of a SavedModel."""
    loaded = tf.saved_model.load(str(path))
    wanted = [name for name in (signatures.JOINT, *names) if name in loaded.signatures]

    def run(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        inputs = {name: tf.constant(values) for name, values in arrays.items()}
        results = {name: loaded.signatures[name](**inputs) for name in wanted}
        return {name: {task: values.numpy() for task, values in found.items()} for name, found in results.items()}

    return run


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
