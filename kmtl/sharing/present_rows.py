"""Which rows of an input are there."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import require


def present_rows(x: Any) -> Any:
    """Tells which rows of an input are there: a row that is missing is all zeros.

    So an image, a table or a text that some examples do not have needs no argument of its own on any way into the
    model: arrays, `tf.data`, shards, a server's request. Of integer tokens 0 is padding; of text the empty string.

    Args:
        x: The input as the model gets it, and not what layers made of it: an array, a tensor or a KerasTensor
            `(batch, ...)` of numbers, bools or strings. NaN is a value that is there.

    Returns:
        Bools `(batch,)`.

    Raises:
        ValueError: If `x` has no rows, or rows without a number.

    >>> present_rows([[0.0, 2.0], [0.0, 0.0]]).numpy().tolist()
    [True, False]
    """
    value = x if isinstance(x, keras.KerasTensor) else ops.convert_to_tensor(x)
    shape = tuple(value.shape)
    has_values = bool(shape) and 0 not in shape[1:]
    require(has_values, "present_rows", "x", "must have rows, and at least one number in each", shape)
    nothing = "" if keras.backend.standardize_dtype(value.dtype) == "string" else 0
    there = ops.not_equal(value, nothing)
    return ops.any(there, axis=tuple(range(1, len(shape)))) if len(shape) > 1 else there
