"""Requests that a TensorFlow Serving server runs while it loads a version, so that no user waits for the first one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl import _checks, _extras

_LIMIT = 1000  # TensorFlow Serving refuses to load a version with more


def write(folder: Path, name: str, requests: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes `assets.extra/tf_serving_warmup_requests` into the folder of a version.

    A signature gets two requests, its first row alone and all of its rows, since a batch of another size may take
    another path through TensorFlow; it gets one if it has one row.

    Args:
        folder: Folder of the version, not yet seen by a server.
        name: Name under which the model is served; of no effect on the warm-up, told in the requests.
        requests: For each signature its inputs by name: arrays with a batch dimension, strings as text or bytes.

    Returns:
        The file written, a TFRecord of TensorFlow Serving's own `PredictionLog`.

    Raises:
        ImportError: If the package `tensorflow-serving-api` is absent.
        ValueError: If that makes more than 1000 records.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as version:
    ...     path = write(Path(version), "digits", {"digit": {"image": [[0.5], [1.0], [0.0]]}})
    ...     len(list(tf.data.TFRecordDataset(str(path))))
    2
    """
    records = [record for signature, inputs in requests.items() for record in _records(name, signature, inputs)]
    rule, fix = f"must make at most {_LIMIT} records, two a signature", "Export fewer tasks in one artifact."
    _checks.require(len(records) <= _LIMIT, "saved_model", "warmup", rule, len(records), fix)
    path = _path(folder)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def most_rows(folder: Path) -> int:
    """Returns the rows of the largest request that the folder of a version warms up with, 0 if there is none."""
    if not _path(folder).exists():
        return 0
    logs = _extras.load("tensorflow_serving.apis.prediction_log_pb2", "serving_config")
    records = tf.data.TFRecordDataset(str(_path(folder))).as_numpy_iterator()
    requests = (logs.PredictionLog.FromString(record).predict_log.request for record in records)
    shapes = (values.tensor_shape.dim for request in requests for values in request.inputs.values())
    return max((shape[0].size for shape in shapes if shape), default=0)


def _path(folder: Path) -> Path:
    """Returns where a server looks for warm-up requests."""
    return folder / "assets.extra" / "tf_serving_warmup_requests"


def _records(name: str, signature: str, inputs: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields the record of one row and, if there are more rows, the record of all."""
    logs = _extras.load("tensorflow_serving.apis.prediction_log_pb2", "saved_model")
    rows = len(next(iter(inputs.values())))
    for count in sorted({1, rows}):
        log = logs.PredictionLog()
        request = log.predict_log.request
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(values[:count]))
        yield log.SerializeToString()
