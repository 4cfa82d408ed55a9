"""LiteRT: one file for phones and small devices, every task together and each alone."""

import dataclasses
import importlib.metadata
import math
import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl import _checks
from kmtl._shown_path import ShownPath
from kmtl.export import describing, placing, precision, signatures
from kmtl.export.lite import batching, captured_output, metadata, quality, quantizing, running, scoring

_NO_TEXT = (
    "LiteRT splits no text: export a SavedModel, let the model read kmtl.trunks.word_numbers, or allow `select_tf_ops`."
)


@_checks.known_keywords
def litert(
    model: Any,
    path: str | os.PathLike[str],
    tasks: Sequence[str] | None = None,
    *,
    quantize: str | None = None,
    calibration: Any = None,
    validation: Any = None,
    tolerance: float | None = 0.01,
    select_tf_ops: bool = False,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Writes the model as a LiteRT (TensorFlow Lite) file.

    It has the signatures that `saved_model` has, over one set of weights: `serving_default` and one a task. Read it by
    signature runner, which returns outputs by name; the plain list of outputs comes in another order. A model in
    mixed precision is rebuilt in float32 with its weights first. The batch may have any size. The file describes
    itself: `kmtl.export.inspect` shows tasks, label names, units, versions and what the conversion cost.

    How numbers are stored:

        None       float32
        "float16"  weights in float16, half the size; computes in float32 where the device has nothing else
        "dynamic"  weights in int8, a quarter of the size; inputs of a layer are rounded while it runs
        "int8"     weights and values between layers in int8, by ranges seen in `calibration`; inputs, outputs and the
                   last layer of a task of values stay float, and so does an operation without an int8 form
        "int8_io"  the last layer, inputs and outputs in int8 too, for devices without floats: a number is
                   `(stored - zero_point) * scale`, and the signature runner's details have both; integer inputs
                   keep their type. An output has one scale: numbers of unlike size should be tasks of their own

    A file of less than the model's quality is not written. Compared are the Keras model and the file, on `validation`
    by the tasks' own metrics, or else, for int8, on `calibration` by agreement with the Keras model; see
    `kmtl.export.quality`.

    Args:
        model: A functional `keras.Model` with a dict of outputs keyed by task name, such as `kmtl.MultiTaskModel`.
        path: The file, ending in `.tflite`. An existing one is replaced in one step, once the new one is whole.
        tasks: Names of the tasks to export; None exports all. What the others alone need is left out.
        quantize: None, `"float16"`, `"dynamic"`, `"int8"` or `"int8_io"`.
        calibration: For int8: real inputs, an array or a dict of them by input name, or a `tf.data.Dataset` of batches
            `x` or `(x, y)`. The first 512 rows run through every signature, so that time grows with the tasks.
        validation: Labelled data, `(x, {task: labels})` or a `tf.data.Dataset` of such batches; a task or a label may
            be missing.
        tolerance: Largest worsening of any metric, relative to its value before: 0.01 is one percent. None writes the
            file whatever it costs.
        select_tf_ops: Whether operations that LiteRT lacks may be TensorFlow's own. Such a file needs the Flex
            delegate, megabytes of TensorFlow in the app; `ai-edge-litert` alone does not run it, so it can be neither
            calibrated nor compared here.
        metrics: Numbers for the description, as `model.evaluate(test, return_dict=True)` returns.

    Returns:
        The file written.

    Raises:
        ValueError: If an argument breaks its rule, all offenders at once; if the model reads text, or uses an
            operation that LiteRT lacks; or if a metric worsens by more than `tolerance`.
        OSError: If the disk is full or must not be written to; an old file stays what it was.

    >>> import keras
    >>> image = keras.Input((2,), name="image")
    >>> model = keras.Model(image, {"digit": keras.layers.Dense(3)(image), "angle": keras.layers.Dense(1)(image)})
    >>> litert(model, "digits.h5")
    Traceback (most recent call last):
    ...
    ValueError: litert: `path` must end in .tflite, got 'digits.h5'. Write 'digits.tflite'.
    """
    target = Path(path)
    with _checks.Refusals("litert") as refusals:
        outputs = signatures.task_outputs(refusals, model, tasks)
        signatures.refuse_unlearned(refusals, model, outputs)
        placing.refuse_file(refusals, target, ".tflite")
        quantizing.refuse_mode(refusals, quantize)
        _refuse_options(refusals, quantize, validation, tolerance, select_tf_ops)
        describing.refuse_description(refusals, metrics, None)
        if outputs and not select_tf_ops:
            signatures.refuse_text(refusals, model, _NO_TEXT)
        arrays = quantizing.samples(refusals, model, quantize, calibration) if outputs else {}
        batches = _compared_on(refusals, model, validation, arrays) if outputs else None
    part = precision.in_float32(signatures.inference_part(model, outputs))
    exact = [name for name in outputs if not scoring.decides(model, name)]
    content, names = _converted(part, quantize, arrays, exact, select_tf_ops)
    rows = _kept(model, outputs, content, batches, quantizing.ways_out(quantize, arrays), tolerance)
    told = describing.description(model, outputs, name=target.stem, metrics=metrics)
    told.update(quantize=quantize, signatures=names, quality=[_plain(row) for row in rows])
    content = metadata.add(content, told, _line(outputs, quantize))
    with placing.explain_disk_errors("litert", target.parent), placing.beside(target.parent) as scratch:
        finished = scratch / "model.tflite"
        finished.write_bytes(content)
        return ShownPath(finished.replace(target))


def _refuse_options(
    refusals: _checks.Refusals, quantize: Any, validation: Any, tolerance: Any, select_tf_ops: Any
) -> None:
    """Records a tolerance that is none, and TensorFlow's operations where the file would have to run here."""
    if tolerance is not None and not (_checks.is_number(tolerance) and tolerance >= 0):
        fix = "0.01 allows one percent, None anything."
        refusals.add("tolerance", "must be None or a finite number of at least 0", tolerance, fix)
    if not isinstance(select_tf_ops, bool):
        refusals.add("select_tf_ops", "must be True or False", select_tf_ops)
    elif select_tf_ops and (quantize in quantizing.CALIBRATED or validation is not None):
        fix = "ai-edge-litert runs no TensorFlow operations, so such a file can be neither calibrated nor compared."
        rule = "must be False with quantize='int8' or 'int8_io' and with `validation`"
        refusals.add("select_tf_ops", rule, select_tf_ops, fix)


def _compared_on(
    refusals: _checks.Refusals, model: Any, validation: Any, arrays: dict[str, Any]
) -> batching.Batches | None:
    """Returns what the file is compared with the model on, and records validation data that does not fit."""
    if validation is None:
        return batching.unlabelled_batches(arrays) if arrays else None
    if isinstance(validation, tf.data.Dataset):
        return batching.labelled_batches(refusals, model, validation)
    if not isinstance(validation, tuple) or len(validation) != 2 or validation[1] is None:
        rule = "must be a tuple (x, {task: labels}) or a tf.data.Dataset of such batches"
        refusals.add("validation", rule, _checks.words(f"{type(validation).__name__} without labels"))
        return None
    return batching.labelled_batches(refusals, model, *validation)


def _converted(
    model: Any, quantize: str | None, arrays: Mapping[str, Any], exact: list[str], select_tf_ops: bool
) -> tuple[bytes, list[str]]:
    """Converts by way of a SavedModel, the only route that gives several signatures; returns their names too."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # The calibrator uses the old interpreter itself.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        names = signatures.save(model, model.output, scratch)
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=names)
        if select_tf_ops:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        try:
            with captured_output.held_back():
                return quantizing.convert(converter, quantize, names, arrays, exact), names
        except OSError:  # a full disk is no fault of the model's
            raise
        except Exception as error:
            fix = "Replace the layer, a recurrent one by unroll=True; or allow `select_tf_ops`."
            got = _checks.words(_reason(str(error)))
            raise ValueError(_checks.refusal("litert", "model", "must use LiteRT's built-in ops", got, fix)) from error


def _reason(text: str) -> str:
    """Picks out of the converter's many lines the first that names an op."""
    found = re.search(r"'tf\.\w+' op[^\n]*", text)
    return found.group() if found else text.strip().partition("\n")[0]


def _kept(
    model: Any,
    outputs: Mapping[str, Any],
    content: bytes,
    batches: batching.Batches | None,
    ways_out: str,
    tolerance: float | None,
) -> tuple[scoring.TaskQuality, ...]:
    """Compares the file with the model and refuses one that is worse than the tolerance; returns the comparison."""
    if batches is None:
        return ()
    _, rows = quality.measure(model, outputs, running.runner(content), batches, owner="litert")
    with _checks.Refusals("litert") as refusals:
        for row in rows:
            if tolerance is not None and row.change is not None and row.change > 100 * tolerance:
                rule = f"of {tolerance:g} must hold for task {row.task!r}"
                got = f"{row.metric} {row.before:.5g} before and {row.after:.5g} after, {row.change:.3g} % worse"
                fix = f"{ways_out}, or pass tolerance=None to write it anyway."
                refusals.add("tolerance", rule, _checks.words(got), fix)
    return rows


def _plain(row: scoring.TaskQuality) -> dict[str, Any]:
    """Returns a row as JSON knows it, which has no infinity."""
    cells = dataclasses.asdict(row)
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in cells.items()
    }


def _line(outputs: Mapping[str, Any], quantize: str | None) -> str:
    """Returns the line that viewers of LiteRT files show."""
    return f"kmtl {importlib.metadata.version('kmtl')}: {', '.join(outputs)} ({quantize or 'float32'})"
