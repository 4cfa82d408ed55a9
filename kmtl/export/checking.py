"""Proves that an artifact gives what the Keras model gives."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl.export import fresh_process, parity, sampling, signatures

_AGAIN = "Export it again from this model."


def check(
    model: Any, artifact: str | os.PathLike[str], samples: Any, *, tolerance: float | None = None
) -> parity.Parity:
    """Runs an artifact as its user would and compares every signature with the Keras model.

    A SavedModel is run in a fresh process by TensorFlow alone, a LiteRT file in one by `ai_edge_litert` alone, both on
    the CPU; neither process can import Keras or kmtl.

    Args:
        model: The model that was exported.
        artifact: What `saved_model` or `litert` returned: a version's folder, or a `.tflite` file.
        samples: Inputs with a batch dimension: an array if the model has one input, else a dict by input name.
        tolerance: Largest difference allowed, absolute for outputs up to 1 (probabilities), relative to the largest
            output of a task above that; None allows any. 1e-6 for a SavedModel and 1e-5 for LiteRT allow for rounding.

    Returns:
        A table, one row a task; print it.

    Raises:
        ValueError: If the artifact is neither form, does not run on the samples or lacks a task, if the samples do not
            fit the model's inputs, or if a task differs by more than `tolerance`.

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
    path = Path(artifact)
    with _checks.Refusals("check") as refusals:
        outputs = signatures.task_outputs(refusals, model)
        _refuse_artifact(refusals, path)
        arrays = sampling.arrays(refusals, model, samples) if outputs else {}
    expected = _keras_outputs(model, arrays)
    found = _matched(_run(path, arrays), expected)
    kinds = {name: task.kind for name, task in getattr(model, "tasks", {}).items()}
    rows = tuple(parity.row(task, kinds.get(task), expected[task], found[task]) for task in outputs)
    _refuse_differences(rows, limit)
    return parity.Parity(str(path), _size(path), len(next(iter(arrays.values()))), rows)


def _refuse_artifact(refusals: _checks.Refusals, path: Path) -> None:
    """Records an artifact that is neither a SavedModel nor a LiteRT file."""
    if (path / "saved_model.pb").is_file() or (path.suffix == ".tflite" and path.is_file()):
        return
    versions = sorted(entry.parent.name for entry in path.glob("*/saved_model.pb"))
    fix = f"Pass one of its versions: {', '.join(versions)}." if versions else "Export the model first."
    refusals.add("artifact", "must be the folder of one SavedModel or a .tflite file", str(path), fix)


def _keras_outputs(model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Runs the Keras model in inference mode, on the CPU as the artifact is."""
    with tf.device("CPU:0"):
        inputs = [tf.constant(arrays[tensor.name]) for tensor in model.inputs]
        outputs = model(keras.tree.pack_sequence_as(model.input, inputs), training=False)
    return {task: values.numpy() for task, values in outputs.items()}


def _run(path: Path, arrays: dict[str, Any]) -> dict[str, Any]:
    """Runs the artifact in a fresh process, where no GPU is taken from this one; returns `signature/output` arrays."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = f"{scratch}/inputs.npz", f"{scratch}/outputs.npz"
        np.savez(inputs, **{f"input/{name}": values for name, values in arrays.items()})
        # -P keeps this script's folder off the import path.
        command = [sys.executable, "-P", fresh_process.__file__, str(path), inputs, outputs]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            got = _checks.words((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
            raise ValueError(_checks.refusal("check", "artifact", "must run on the samples", got, _AGAIN))
        with np.load(outputs) as stored:
            return {key: stored[key] for key in stored.files}


def _matched(results: dict[str, Any], expected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns each task's outputs by signature; refuses an artifact that lacks one or gives another shape."""
    found: dict[str, dict[str, Any]] = {task: {} for task in expected}
    with _checks.Refusals("check") as refusals:
        for task, values in expected.items():
            for signature in (signatures.JOINT, task):
                result = results.get(f"{signature}/{task}")
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


def _size(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
