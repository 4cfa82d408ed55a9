"""LiteRT: one file for phones and small devices, every task together and each alone."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl import _checks
from kmtl.export import placing, precision, signatures


def litert(model: Any, path: str | os.PathLike[str]) -> Path:
    """Writes the model as a LiteRT (TensorFlow Lite) file with built-in ops only.

    It has the signatures that `saved_model` has, over one set of weights: `serving_default` and one a task. Read it by
    signature runner, which returns outputs by name; the plain list of outputs comes in another order. A model in
    mixed precision is rebuilt in float32 with its weights first.

    Args:
        model: A functional `keras.Model` with a dict of outputs keyed by task name, such as `kmtl.MultiTaskModel`.
        path: The file, ending in `.tflite`. An existing one is replaced in one step, once the new one is whole.

    Returns:
        The file written.

    Raises:
        ValueError: If the model has no dict of outputs or an illegal task name, uses an op that LiteRT lacks, or if
            `path` ends otherwise, is a folder or lies below a file.

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
        outputs = signatures.task_outputs(refusals, model)
        _refuse_path(refusals, target)
    content = _converted(precision.in_float32(signatures.inference_part(model, outputs)))
    with placing.beside(target.parent) as scratch:
        finished = scratch / "model.tflite"
        finished.write_bytes(content)
        return finished.replace(target)


def _refuse_path(refusals: _checks.Refusals, target: Path) -> None:
    """Records a `path` that cannot become a LiteRT file."""
    if target.suffix != ".tflite":
        fix = f"Write {str(target.with_suffix('.tflite'))!r}." if target.name else "Name a file."
        refusals.add("path", "must end in .tflite", str(target), fix)
    if target.is_dir():
        refusals.add("path", "must be a file", str(target), "That is a folder: name a file inside it.")
    placing.refuse_folder(refusals, "path", target.parent)


def _converted(model: Any) -> bytes:
    """Converts by way of a SavedModel, the only route that gives several signatures."""
    with tempfile.TemporaryDirectory() as scratch:
        names = signatures.save(model, model.output, scratch)
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=names)
        try:
            content: bytes = converter.convert()
        except Exception as error:
            fix = "Replace the layer; a recurrent one converts with unroll=True."
            got = _checks.words(_reason(str(error)))
            raise ValueError(_checks.refusal("litert", "model", "must use LiteRT's built-in ops", got, fix)) from error
    return content


def _reason(text: str) -> str:
    """Picks out of the converter's many lines the first that names an op."""
    found = re.search(r"'tf\.\w+' op[^\n]*", text)
    return found.group() if found else text.strip().partition("\n")[0]
