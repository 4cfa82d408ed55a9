"""Every private name of TensorFlow's converter that kmtl uses; `tests/export/lite/test_private.py` watches them."""

from collections.abc import Callable, Collection
from typing import Any


def convert_in_two_steps(converter: Any, left_float: Callable[[bytes], Collection[str]]) -> bytes:
    """Does what the converter does for int8, but leaves some operations float.

    Its public face has no way to leave an operation out of the second step.

    Args:
        converter: A `tf.lite.TFLiteConverter` with calibration data.
        left_float: From the calibrated file to the names of the operations that stay float.

    Returns:
        The file.
    """
    from tensorflow.lite.python import convert

    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    return convert.mlir_quantize(calibrated, denylisted_nodes=left_float(calibrated))
