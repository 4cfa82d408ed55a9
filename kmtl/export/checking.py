"""Proves that an artifact gives what the Keras model gives."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl import _checks, _extras
from kmtl.export import artifacts, fresh_process, parity, sampling, signatures, stems

_AGAIN = "Export it again from this model."
_NO_FLEX = "No Python package runs select TensorFlow ops since TensorFlow 2.20: export with built-in ops only."


def check(
    model: Any, artifact: str | os.PathLike[str], samples: Any, *, tolerance: float | None = None
) -> parity.Parity:
    """Runs an artifact as its user would and compares every task with the Keras model.

    A SavedModel is run by TensorFlow alone, a LiteRT file by `ai_edge_litert` alone, an ONNX file by onnxruntime
    alone, each in a fresh process on the CPU that can import neither Keras nor kmtl. All tasks of the artifact are run,
    together and each by its own signature; of an ONNX file, which has none, each output is asked for alone. Signatures
    that take other inputs, such as encoded images, are not run. A LiteRT file that takes and gives integers for real
    numbers gets them and is read by the scale and the zero point that it tells.

    Args:
        model: The model that was exported.
        artifact: What `saved_model`, `litert` or `onnx` returned: a version's folder, a `.tflite` or an `.onnx` file.
            It may hold some of the model's tasks only.
        samples: Inputs with a batch dimension: an array if the model has one input, else a dict by input name.
        tolerance: Largest difference allowed, absolute for outputs up to 1 (probabilities), relative to the largest
            output of a task above that; None allows any. 1e-6 for a SavedModel and 1e-5 for LiteRT and ONNX allow for
            rounding; what int8 costs depends on the model, so look at the table first.

    Returns:
        A table, one row a task of the artifact; print it.

    Raises:
        ImportError: If the artifact is an ONNX file and onnxruntime is absent.
        ValueError: If the artifact is of no such form, does not run on the samples or has a task that the model lacks,
            if the samples do not fit the model's inputs, or if a task differs by more than `tolerance`.

    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> import kmtl.export
    >>> image = keras.Input((2,), name="image")
    >>> model = keras.Model(image, {"digit": keras.layers.Dense(3)(image), "angle": keras.layers.Dense(1)(image)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = kmtl.export.litert(model, folder + "/digits.tflite")
    ...     table = check(model, path, np.ones((5, 2)), tolerance=1e-5)
    >>> [row.task for row in table.rows]
    ['digit', 'angle']
    """
    limit = None if tolerance is None else _checks.non_negative("check", "tolerance", tolerance)
    path, form = Path(artifact), artifacts.form_of(Path(artifact))
    with _checks.Refusals("check") as refusals:
        outputs = signatures.task_outputs(refusals, model)
        artifacts.refuse_form(refusals, path, "SavedModel", "LiteRT", "ONNX")
        if form == "ONNX":
            _extras.load("onnxruntime", "check")
        arrays = sampling.arrays(refusals, model, samples) if outputs else {}
    results = _run(path, arrays)
    rows = _rows(model, _tasks(results, outputs), results, arrays)
    _refuse_differences(rows, limit)
    joint = {row.task: outputs[row.task] for row in rows}
    times = float(results[f"milliseconds/{signatures.JOINT}"]), _keras_milliseconds(model, joint, arrays)
    return parity.Parity(str(path), form, artifacts.size_of(path), len(next(iter(arrays.values()))), rows, *times)


def _run(path: Path, arrays: dict[str, Any]) -> dict[str, Any]:
    """Runs the artifact in a fresh process, where no GPU is taken from this one, and returns what it wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = f"{scratch}/inputs.npz", f"{scratch}/outputs.npz"
        np.savez(inputs, **{f"input/{name}": values for name, values in arrays.items()})
        # -P keeps this script's folder off the import path.
        command = [sys.executable, "-P", fresh_process.__file__, str(path), inputs, outputs]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            command, env=os.environ | quiet, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            cause = _cause(done)
            fix = _NO_FLEX if "Select TensorFlow op" in cause else _AGAIN
            got = _checks.words(cause)
            raise ValueError(_checks.refusal("check", "artifact", "must run on the samples", got, fix))
        with np.load(outputs) as stored:
            return {key: stored[key] for key in stored.files}


def _cause(done: subprocess.CompletedProcess[str]) -> str:
    """Returns what stopped the fresh process: what it printed last, or how it was killed."""
    if done.returncode < 0:
        return f"a process killed by {signal.Signals(-done.returncode).name}"
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    return lines[-1].rstrip(".") if lines else f"exit status {done.returncode}"


def _tasks(results: dict[str, Any], outputs: dict[str, Any]) -> list[str]:
    """Returns the artifact's tasks in the model's order, and refuses one that the model lacks."""
    prefix = f"value/{signatures.JOINT}/"
    found = [key.removeprefix(prefix) for key in results if key.startswith(prefix)]
    with _checks.Refusals("check") as refusals:
        for task in found:
            if task not in outputs:
                fix = f"{_checks.near(task, outputs)} {_AGAIN}"
                refusals.add("artifact", "must hold tasks of the model", task, fix)
    return [task for task in outputs if task in found]


def _rows(
    model: Any, tasks: list[str], results: dict[str, Any], arrays: dict[str, Any]
) -> tuple[parity.TaskParity, ...]:
    """Compares and times the tasks."""
    expected = _keras_outputs(model, arrays)
    found = _matched(results, {task: expected[task] for task in tasks})
    known = getattr(model, "tasks", None) or {}

    def row(task: str) -> parity.TaskParity:
        times = float(results[f"milliseconds/{task}"]), _keras_milliseconds(model, {task: model.output[task]}, arrays)
        return parity.row(task, known.get(task), expected[task], found[task], *times)

    return tuple(row(task) for task in tasks)


def _keras_outputs(model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Runs the whole Keras model in inference mode, on the CPU as the artifact is."""
    with tf.device("CPU:0"):
        inputs = [tf.constant(arrays[tensor.name]) for tensor in model.inputs]
        outputs = model(keras.tree.pack_sequence_as(model.input, inputs), training=False)
    return {task: values.numpy() for task, values in outputs.items()}


def _keras_milliseconds(model: Any, outputs: dict[str, Any], arrays: dict[str, Any]) -> float:
    """Times what the Keras model needs for some of its outputs, compiled, from NumPy arrays to NumPy arrays."""
    part = signatures.inference_part(model, outputs)

    def call() -> dict[str, Any]:
        found = compiled({name: tf.constant(values) for name, values in arrays.items()})
        return {task: values.numpy() for task, values in found.items()}

    with tf.device("CPU:0"):
        compiled = signatures.trace(stems.behind(None, part, part.output), signatures.specs(part))
        return fresh_process.time_call(call)[1]


def _matched(results: dict[str, Any], expected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns each task's outputs by signature; refuses an artifact that lacks one or gives another shape."""
    found: dict[str, dict[str, Any]] = {task: {} for task in expected}
    with _checks.Refusals("check") as refusals:
        for task, values in expected.items():
            for signature in (signatures.JOINT, task):
                result = results.get(f"value/{signature}/{task}")
                if result is None or result.shape != values.shape:
                    got = _checks.words("none" if result is None else f"shape {result.shape}")
                    rule = f"must give {task!r} of shape {values.shape} by signature {signature!r}"
                    refusals.add("artifact", rule, got, _AGAIN)
                found[task][signature] = result
    return found


def _refuse_differences(rows: tuple[parity.TaskParity, ...], limit: float | None) -> None:
    """Refuses every task whose difference is above the limit, or is NaN."""
    with _checks.Refusals("check") as refusals:
        for row in rows:
            if limit is not None and not row.scaled <= limit:
                rule = f"of {limit:g} must hold for task {row.task!r}"
                got = f"a difference of {row.difference:g} in outputs up to {row.largest:g}"
                refusals.add("tolerance", rule, _checks.words(got))
