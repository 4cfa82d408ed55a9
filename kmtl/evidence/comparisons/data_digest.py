"""What tells one data set from another."""

import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

ANEW = "drawn anew"


def data_digest(data: Any) -> dict[str, Any]:
    """Tells the form of a batch, how many rows and batches, and sums over inputs and labels, and through their order.

    The data are gone through twice: inputs that are augmented by chance, labels and orders drawn anew in each pass are
    told by that alone.

    Args:
        data: A dataset of batches `(x, {task: label})`.

    >>> import tensorflow as tf
    >>> def of(values):
    ...     return data_digest(tf.data.Dataset.from_tensor_slices((values, {"age": values})).batch(2))
    >>> one, other = of([1.0, 2.0, 3.0]), of([3.0, 1.0, 2.0])
    >>> [key for key in one if one[key] != other[key]]
    ['order']
    """
    form = keras.tree.map_structure(lambda spec: f"{spec.dtype.name} {spec.shape[1:]}", data.element_spec)
    one, other = _sums(data), _sums(data)
    told = {key: value if value == other[key] else ANEW for key, value in one.items()}
    return {"form": repr(form), **told}


def _sums(data: Any) -> dict[str, int]:
    """Rows, batches, sums over their inputs and labels, and a chain through both."""
    rows = batches = inputs = labels = order = 0
    for x, y, *_ in data.as_numpy_iterator():
        known = _codes([y[name] for name in sorted(y)])
        seen = _codes(keras.tree.flatten(x))
        rows, batches = rows + len(known), batches + 1
        inputs, labels = inputs + sum(seen), labels + sum(known)
        order = zlib.crc32(np.array([*seen, *known], "uint32").tobytes(), order)
    return {"rows": rows, "batches": batches, "inputs": inputs, "labels": labels, "order": order}


def _codes(arrays: Sequence[Any]) -> list[int]:
    """A number a row of a batch."""
    return [zlib.crc32(b"".join(map(_bytes, row))) for row in zip(*arrays, strict=True)]


def _bytes(value: Any) -> bytes:
    """A value of a row."""
    array = np.asarray(value)
    return repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
