"""How a LiteRT file stores and computes its numbers: the converter's settings and the data it is calibrated on."""

import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl.export import sampling
from kmtl.export.lite import float_outputs
from kmtl.export.lite._converter_private import convert_in_two_steps

MODES = ("float16", "dynamic", "int8", "int8_io")
CALIBRATED = ("int8", "int8_io")
# More say little about a range, and each one runs through every signature.
ROWS = 512
_WAYS_OUT = {
    "int8": "Calibrate with more or more typical inputs, take quantize='dynamic' or 'float16'",
    "int8_io": "Calibrate with more or more typical inputs, take quantize='int8', 'dynamic' or 'float16'",
    "dynamic": "Take quantize='float16'",
    "float16": "Leave `quantize` out",
    None: "Look for what differs with kmtl.export.check",
}


def refuse_mode(refusals: _checks.Refusals, quantize: Any) -> None:
    """Records a `quantize` that is no way to store numbers."""
    if quantize is not None and quantize not in MODES:
        rule = f"must be None or one of {', '.join(map(repr, MODES))}"
        refusals.add("quantize", rule, quantize, _checks.near(str(quantize), MODES))


def samples(refusals: _checks.Refusals, model: Any, quantize: Any, calibration: Any) -> dict[str, Any]:
    """Returns the calibration data as arrays by input name, at most 512 rows, and records what does not fit.

    Args:
        refusals: Where to record.
        model: A functional model.
        quantize: How numbers will be stored.
        calibration: Inputs as `sampling.arrays` takes them, or a `tf.data.Dataset` of batches of them, alone or with
            labels behind; None where nothing is calibrated.

    Returns:
        Arrays of one common length; of no meaning if something was recorded, empty if nothing is calibrated.
    """
    needed = quantize in CALIBRATED
    if needed and calibration is not None:
        return _first_rows(refusals, model, calibration)
    if needed:
        fix = "Pass some hundred real inputs, or the training dataset."
        refusals.add("calibration", f"must be given for quantize={quantize!r}", None, fix)
    elif calibration is not None and quantize in (None, *MODES):
        got = _checks.words(f"quantize={quantize!r}")
        fix = "Leave it out, or pass labelled data as `validation` to see what the conversion costs."
        refusals.add("calibration", "must be left out unless quantize='int8' or 'int8_io'", got, fix)
    return {}


def _first_rows(refusals: _checks.Refusals, model: Any, calibration: Any) -> dict[str, Any]:
    """Brings calibration data into arrays and looks at their values."""
    given = _gathered(calibration) if isinstance(calibration, tf.data.Dataset) else calibration
    if given is None:
        fix = "A dataset that was read to its end, or cut to take(0), gives none."
        refusals.add("calibration", "must hold at least one batch", _checks.words("none"), fix)
        return {}
    arrays = sampling.arrays(refusals, model, given, argument="calibration")
    arrays = {name: array[:ROWS] for name, array in arrays.items() if array.ndim}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            got = _checks.words(f"{int((~np.isfinite(array)).sum())} that are not")
            refusals.add("calibration", f"must hold finite numbers for input {name!r}", got, "Drop those rows.")
    return arrays


def _gathered(dataset: Any) -> Any:
    """Returns the inputs of a dataset's first batches as one structure of arrays; None if there is no batch."""
    batches, rows = [], 0
    for element in dataset.as_numpy_iterator():
        batches.append(element[0] if isinstance(element, tuple) else element)
        sizes = [np.shape(part)[:1] for part in keras.tree.flatten(batches[-1])]
        # A number has no rows; the shape is refused later.
        rows += max((size[0] for size in sizes if size), default=ROWS)
        if rows >= ROWS:
            break
    return _joined(batches) if batches else None


def _joined(batches: list[Any]) -> Any:
    """Puts batches behind each other."""
    if isinstance(batches[0], Mapping):
        return {name: _joined([batch[name] for batch in batches]) for name in batches[0]}
    return np.concatenate(list(map(np.atleast_1d, batches)))


def convert(
    converter: Any, quantize: str | None, names: Iterable[str], arrays: Mapping[str, Any], exact: Collection[str]
) -> bytes:
    """Converts in a way to store numbers.

    Args:
        converter: A `tf.lite.TFLiteConverter`.
        quantize: None or one of `MODES`.
        names: All of the signatures. Each is calibrated by itself: the converter keeps ranges by signature.
        arrays: Calibration data by input name.
        exact: Tasks whose last layer stays float with `"int8"`.

    Returns:
        The file.
    """
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize in CALIBRATED:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _representatives(names, arrays)
    if quantize == "int8_io":
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    if quantize == "int8":
        return convert_in_two_steps(converter, lambda calibrated: float_outputs.nodes(calibrated, exact))
    return converter.convert()


def _representatives(names: Iterable[str], arrays: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yields every row for every signature; one at a time, because the calibrator fixes the shape of the first."""
    rows = range(len(next(iter(arrays.values()))))
    for name, row in itertools.product(names, rows):
        yield name, {key: array[row : row + 1] for key, array in arrays.items()}


def ways_out(quantize: str | None, calibration: Mapping[str, Any]) -> str:
    """Says what may bring the quality back: more rows first, where there are fewer than are used.

    Args:
        quantize: None or one of `MODES`.
        calibration: Calibration data by input name, if there is any.

    >>> print(ways_out("int8", {"image": np.zeros((100, 4))}).partition(".")[0])
    It was calibrated on 100 rows, and up to 512 help
    """
    rows = min(map(len, calibration.values()), default=ROWS)
    if quantize in CALIBRATED and rows < ROWS:
        return f"It was calibrated on {rows} rows, and up to {ROWS} help. {_WAYS_OUT[quantize]}"
    return _WAYS_OUT[quantize]
