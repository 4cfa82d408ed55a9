"""Brings a user's samples into the form that a model's inputs and an artifact's signatures take."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl import _checks


def arrays(refusals: _checks.Refusals, model: Any, samples: Any, *, argument: str = "samples") -> dict[str, Any]:
    """Returns samples as arrays by input name, in the inputs' own dtypes, and records all that does not fit.

    Args:
        refusals: Where to record.
        model: A functional model.
        samples: One array if the model has one input, else a dict of arrays by the names of the `Input` layers.
        argument: What the caller calls the samples.

    Returns:
        Arrays of one common length; of no meaning if something was recorded.
    """
    tensors = {tensor.name: tensor for tensor in model.inputs}
    if not isinstance(samples, Mapping):
        samples = dict.fromkeys(tensors, samples) if len(tensors) == 1 else {}
    if samples.keys() != tensors.keys():
        got = _checks.words(f"the keys {list(samples)}" if samples else "none")
        refusals.add(argument, f"must be a dict with the keys {list(tensors)}", got, "Give each input its array.")
        return {}
    result = {name: _array(refusals, tensor, samples[name], argument) for name, tensor in tensors.items()}
    lengths = {name: len(array) for name, array in result.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        refusals.add(argument, "must have as many rows for every input", lengths)
    return result


def _array(refusals: _checks.Refusals, tensor: Any, values: Any, argument: str) -> Any:
    """Returns the array of one input, and refuses a cast that would cut numbers off."""
    try:
        array = np.asarray(values)
    except ValueError:
        refusals.add(argument, f"must be one array for input {tensor.name!r}", _checks.words("rows of unlike shapes"))
        return np.zeros(0)
    if tensor.dtype == "string":
        array = _text(array)
    shape = (None, *tensor.shape[1:])
    if not _fits(shape, array.shape):
        refusals.add(argument, f"must have the shape {shape} for input {tensor.name!r}", array.shape)
    dtype = np.dtype(str if tensor.dtype == "string" else tensor.dtype)
    is_kind = array.dtype.kind in "UT" if dtype.kind == "U" else np.can_cast(array.dtype, dtype, "same_kind")
    if not is_kind:
        refusals.add(argument, f"must hold {tensor.dtype} for input {tensor.name!r}", _checks.words(str(array.dtype)))
        return array
    return array.astype(dtype)


def _text(array: Any) -> Any:
    """Returns text that came as objects (pandas) or as UTF-8 bytes (TensorFlow), and anything else as it is."""
    if array.dtype.kind not in "OS":
        return array
    try:
        items = [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        return array
    is_text = all(isinstance(item, str) for item in items)
    return np.array(items, str).reshape(array.shape) if is_text else array


def _fits(shape: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    """Tells whether an array has at least one row and the given shape, None being any size."""
    same = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    return same and found[0] > 0
