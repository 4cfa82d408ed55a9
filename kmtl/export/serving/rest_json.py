"""What a TensorFlow Serving server's REST address takes and answers, by the rules that its documentation states."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

_DTYPES = {"float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "bool", "string"}
_BYTES = "_bytes"


def carries(arrays: Iterable[Any]) -> bool:
    """Whether JSON carries all of these arrays; a signature with another dtype is reached by gRPC alone.

    >>> carries([np.zeros(2, "int64"), np.array([b"text"], object)]), carries([np.zeros(2, "float16")])
    (True, False)
    """
    return {"string" if array.dtype == object else str(array.dtype) for array in arrays} <= _DTYPES


def row_request(signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the body of a request in row format: `instances`, one entry a row; a single input goes without name.

    Args:
        signature: Name of the signature.
        inputs: Arrays with a batch dimension by input name, strings as bytes.

    >>> row_request("digit", {"image": np.array([[0.5, 1.0]])})
    {'signature_name': 'digit', 'instances': [[0.5, 1.0]]}
    """
    return {
        "signature_name": signature,
        "instances": _rows({key: _spell_input(value) for key, value in inputs.items()}),
    }


def column_request(signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the body of a request in column format: `inputs`, all rows of each input under its name.

    >>> column_request("digit", {"image": np.array([[0.5, 1.0]])})
    {'signature_name': 'digit', 'inputs': {'image': [[0.5, 1.0]]}}
    """
    return {"signature_name": signature, "inputs": {key: _spell_input(value) for key, value in inputs.items()}}


def row_reply(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the reply to a request in row format: `predictions`, one entry a row; a single output loses its name.

    >>> row_reply({"digit": np.array([[0.25, 0.75]])})
    {'predictions': [[0.25, 0.75]]}
    >>> row_reply({"digit": np.array([[0.25, 0.75]]), "angle": np.array([[3.5]])})
    {'predictions': [{'digit': [0.25, 0.75], 'angle': [3.5]}]}
    """
    return {"predictions": _rows({key: _spell_output(key, value) for key, value in outputs.items()})}


def column_reply(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the reply to a request in column format: `outputs`; a single output loses its name.

    >>> column_reply({"photo_bytes": np.array([b"abc"], object)})
    {'outputs': [{'b64': 'YWJj'}]}
    """
    columns = {key: _spell_output(key, value) for key, value in outputs.items()}
    return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}


def _rows(columns: Mapping[str, list[Any]]) -> list[Any]:
    """Turns lists by name into a list of rows, which are dicts unless there is one name."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _spell_input(values: Any) -> Any:
    """Returns an input as nested lists; bytes that are no text go as base64."""
    return _strings(values, _text_or_base64) if values.dtype == object else _numbers(values)


def _spell_output(name: str, values: Any) -> Any:
    """Returns an output as nested lists; the server takes a string for bytes if the output's name says so."""
    if values.dtype != object:
        return _numbers(values)
    return _strings(values, _base64 if name.endswith(_BYTES) else lambda value: value.decode(errors="replace"))


def _strings(values: Any, spell: Callable[[bytes], Any]) -> Any:
    """Returns an array of bytes as nested lists."""
    words = np.empty(values.size, object)
    words[:] = [spell(value) for value in values.flat]
    return words.reshape(values.shape).tolist()


def _numbers(values: Any) -> Any:
    """Returns an array as nested lists; float32 gets the shortest digits that tell it, as float64 has them."""
    return values.astype(str).astype(float).tolist() if values.dtype == np.float32 else values.tolist()


def _text_or_base64(value: bytes) -> Any:
    """Returns bytes as JSON carries them."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _base64(value: bytes) -> dict[str, str]:
    """Returns bytes as the server spells them in JSON."""
    return {"b64": base64.b64encode(value).decode()}
