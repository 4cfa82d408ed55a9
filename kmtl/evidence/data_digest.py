"""What tells one data set from another."""

import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

_ANEW = "drawn anew"


def data_digest(data: Any) -> dict[str, Any]:
    """Tells the form of a batch, the number of rows, and sums over inputs and labels, whatever their order.

    The data are gone through twice: inputs that are augmented by chance, or labels drawn anew in each pass, are told by
    that alone.

    Args:
        data: A dataset of batches `(x, {task: label})`.

    >>> import tensorflow as tf
    >>> def of(values):
    ...     return data_digest(tf.data.Dataset.from_tensor_slices((values, {"age": values})).batch(2))
    >>> of([1.0, 2.0, 3.0]) == of([3.0, 1.0, 2.0]), of([1.0, 2.0, 3.0]) == of([1.0, 2.0, 4.0])
    (True, False)
    """
    form = keras.tree.map_structure(lambda spec: f"{spec.dtype.name} {spec.shape[1:]}", data.element_spec)
    one, other = _sums(data), _sums(data)
    told = {key: value if value == other[key] else _ANEW for key, value in one.items()}
    return {"form": repr(form), **told}


def _sums(data: Any) -> dict[str, int]:
    """Rows, and the sums over their inputs and labels."""
    rows = inputs = labels = 0
    for x, y, *_ in data.as_numpy_iterator():
        known = [y[name] for name in sorted(y)]
        rows += len(known[0])
        inputs += _sum(keras.tree.flatten(x))
        labels += _sum(known)
    return {"rows": rows, "inputs": inputs, "labels": labels}


def _sum(arrays: Sequence[Any]) -> int:
    """A sum over the rows of a batch."""
    return sum(zlib.crc32(b"".join(map(_bytes, row))) for row in zip(*arrays, strict=True))


def _bytes(value: Any) -> bytes:
    """A value of a row."""
    array = np.asarray(value)
    return repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
