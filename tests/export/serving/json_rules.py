"""How TensorFlow Serving reads and writes JSON, by its documentation; shares no code with kmtl."""

import base64
import math

import grpc
import numpy as np
import tensorflow as tf


class RefusedError(Exception):
    """A request that the server answers with an error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def shaped(values, dtype):
    """Reads nested lists of JSON; an object with the key b64 holds bytes."""
    if isinstance(values, list):
        return [shaped(value, dtype) for value in values]
    if isinstance(values, dict):
        return base64.b64decode(values["b64"], validate=True)
    fits = {str: dtype == tf.string, bool: dtype == tf.bool, int: dtype.is_integer or dtype.is_floating}
    if not fits.get(type(values), dtype.is_floating):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"JSON Value: {values!r} is not of expected type: {dtype}")
    return values.encode() if dtype == tf.string else values


def tensor(values, info):
    dtype = tf.as_dtype(info.dtype)
    return np.array(shaped(values, dtype), object if dtype == tf.string else dtype.as_numpy_dtype)


def is_named(value):
    return isinstance(value, dict) and set(value) != {"b64"}


def inputs_of(body, infos):
    """Reads the tensors of a request in row or column format."""
    if ("instances" in body) == ("inputs" in body):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "one of 'instances' and 'inputs' is expected")
    given = body.get("instances", body.get("inputs"))
    if "inputs" in body:
        columns = given if is_named(given) else dict.fromkeys(infos, given)
    elif is_named(given[0]):
        columns = {name: [row[name] for row in given] for name in given[0]}
    else:
        columns = dict.fromkeys(infos, given)
    if set(columns) != set(infos) or (len(infos) > 1 and columns is not given and not is_named(given[0])):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"expecting the inputs {sorted(infos)}")
    return {name: tensor(values, infos[name]) for name, values in columns.items()}


def spelled(name, value):
    """Spells one number or string of an output: six digits if they suffice, else nine or seventeen."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
    if isinstance(value, np.floating) and math.isfinite(value):
        short = f"{value:.6g}"
        return float(short if type(value)(short) == value else f"{value:.{9 if value.dtype.itemsize == 4 else 17}g}")
    return value.item()


def lists(name, values):
    return [lists(name, value) for value in values] if isinstance(values, np.ndarray) else spelled(name, values)


def answer(outputs, in_rows):
    """Spells a reply: one output loses its name, several make an object, one a row in row format."""
    if len(outputs) == 1:
        ((name, values),) = outputs.items()
        return {"predictions" if in_rows else "outputs": lists(name, values)}
    if not in_rows:
        return {"outputs": {name: lists(name, values) for name, values in outputs.items()}}
    (size,) = {len(values) for values in outputs.values()}
    rows = [{name: lists(name, values[row]) for name, values in outputs.items()} for row in range(size)]
    return {"predictions": rows}
