"""Brings a user's samples into the form that a model's inputs and an artifact's signatures take."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl import _checks


def arrays(refusals: _checks.Refusals, model: Any, samples: Any) -> dict[str, Any]:
    """Returns samples as arrays by input name, in the inputs' own dtypes, and records all that does not fit.

    Args:
        refusals: Where to record.
        model: A functional model.
        samples: One array if the model has one input, else a dict of arrays by the names of the `Input` layers.

    Returns:
        Arrays of one common length; of no meaning if something was recorded.
    """
    tensors = {tensor.name: tensor for tensor in model.inputs}
    if not isinstance(samples, Mapping):
        samples = dict.fromkeys(tensors, samples) if len(tensors) == 1 else {}
    if samples.keys() != tensors.keys():
        got = _checks.words(f"the keys {list(samples)}" if samples else "none")
        refusals.add("samples", f"must be a dict with the keys {list(tensors)}", got, "Give each input its array.")
        return {}
    result = {name: _array(refusals, tensor, samples[name]) for name, tensor in tensors.items()}
    lengths = {name: len(array) for name, array in result.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        refusals.add("samples", "must have as many rows for every input", lengths)
    return result


def _array(refusals: _checks.Refusals, tensor: Any, values: Any) -> Any:
    """Returns the array of one input, and refuses a cast that would cut numbers off."""
    array = np.asarray(values)
    if tensor.dtype == "string" and array.dtype == object:  # as pandas gives text
        array = array.astype(str)
    shape = (None, *tensor.shape[1:])
    if not _fits(shape, array.shape):
        refusals.add("samples", f"must have the shape {shape} for input {tensor.name!r}", array.shape)
    dtype = np.dtype(str if tensor.dtype == "string" else tensor.dtype)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        refusals.add("samples", f"must hold {tensor.dtype} for input {tensor.name!r}", _checks.words(str(array.dtype)))
        return array
    return array.astype(dtype)


def _fits(shape: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    """Tells whether an array has at least one row and the given shape, None being any size."""
    same = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    return same and found[0] > 0
