"""A stand-alone Python script that asks a TensorFlow Serving server by gRPC."""

import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kmtl.export.serving import calls


def text(server: calls.Server, made: list[calls.Call], arrays: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Returns the script.

    Args:
        server: Whom it asks unless told otherwise.
        made: The signatures.
        arrays: Samples by input name, which it reads from their files.
        pictures: Image files by input name, which it reads likewise.
    """
    return _CLIENT.substitute(
        name=server.name,
        model=repr(server.name),
        server=repr(f"{server.host}:{server.grpc_port}"),
        samples=_table((name, f"np.load(HERE / {calls.array_path(name)!r})") for name in arrays),
        files=_table((name, f"(HERE / {calls.picture_path(name)!r}).read_bytes()") for name in pictures),
        requests="".join(f"    {line},\n" for call in made for line in _asks(call)),
    )


def _table(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns the lines of a dict."""
    return "".join(f"    {name!r}: {code},\n" for name, code in pairs)


def _asks(call: calls.Call) -> Iterator[str]:
    """Yields a signature's requests: all that it gives and, if that is more than one thing, the first alone."""
    terms = (
        f"{name!r}: [FILES[{name!r}]]" if name in call.files else f"{name!r}: SAMPLES[{name!r}]" for name in call.inputs
    )
    inputs = "{" + ", ".join(terms) + "}"
    yield f"({call.signature!r}, {inputs}, [])"
    if len(call.outputs) > 1:
        yield f"({call.signature!r}, {inputs}, [{next(iter(call.outputs))!r}])"


_CLIENT = string.Template(
    '''\
"""Asks TensorFlow Serving for predictions of $name by gRPC: python grpc_client.py [HOST:PORT].

Needs: pip install grpcio tensorflow-serving-api
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

MODEL = $model
SERVER = $server
SECONDS = 30.0
HERE = pathlib.Path(__file__).parent
# One row of each input, and image files for the signatures that take them.
SAMPLES = {
$samples}
FILES = {
$files}
# Signature, inputs, and the outputs wanted: none named gives all.
REQUESTS = [
$requests]


def signatures(service):
    """Asks which signatures there are."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = MODEL
    found = get_model_metadata_pb2.SignatureDefMap()
    service.GetModelMetadata(request, timeout=SECONDS).metadata["signature_def"].Unpack(found)
    return sorted(found.signature_def)


def predict(service, signature, inputs, outputs):
    """Asks one signature; returns arrays by output name."""
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = MODEL
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    reply = service.Predict(request, timeout=SECONDS)
    return {name: tf.make_ndarray(values) for name, values in reply.outputs.items()}


def main():
    """Sends every request and prints the replies, one a line."""
    with grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else SERVER) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        print("signatures:", json.dumps(signatures(service)))
        for signature, inputs, outputs in REQUESTS:
            found = predict(service, signature, inputs, outputs)
            told = {name: values.tolist() for name, values in found.items()}
            print(f"{signature} {json.dumps(outputs)}:", json.dumps(told, default=bytes.decode))


if __name__ == "__main__":
    main()
'''
)
