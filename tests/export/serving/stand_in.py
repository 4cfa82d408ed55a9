"""A stand-in for the TensorFlow Serving server, over `tf.saved_model.load`. It is not the server.

It follows what the server's documentation states, written from its pages on REST, on configuration and on warm-up and
from its protos, and shares no code with kmtl: `predict`, metadata and model status by REST; `Predict` with an output
filter and `GetModelMetadata` by gRPC; the version policy, labels and mounts of a `docker run` command. So a test
against it shows that kmtl's files keep the documented rules, and not that a real server takes them.
"""

import concurrent.futures
import contextlib
import csv
import http.server
import json
import pathlib
import re
import shlex
import threading

import grpc
import tensorflow as tf
from export.serving import json_rules
from google.protobuf import json_format, text_format
from google.rpc import code_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

NUMBERS = "max_batch_size|batch_timeout_micros|max_enqueued_batches|num_batch_threads"
PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")
STATUS = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata)?")
HTTP = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.FAILED_PRECONDITION: 400, grpc.StatusCode.NOT_FOUND: 404}


class StartError(Exception):
    """A configuration with which the server does not start."""


class Version:
    """One loaded version, which takes requests of at most so many rows."""

    def __init__(self, folder, limit):
        self.limit = limit
        self.functions = tf.saved_model.load(str(folder)).signatures
        stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.definitions = dict(stored.meta_graphs[0].signature_def)
        self.warmed = []
        records = folder / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(records)) if records.exists() else ():
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs)
            self.warmed.append((request.model_spec.signature_name, {len(values) for values in inputs.values()}))

    def definition(self, signature):
        if signature not in self.functions:
            raise json_rules.RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.'
            )
        return self.definitions[signature]

    def run(self, signature, inputs, wanted=()):
        """Runs a signature; refuses inputs whose names, dtypes or shapes are not the signature's."""
        definition = self.definition(signature)
        unknown = set(wanted) - set(definition.outputs)
        if set(inputs) != set(definition.inputs) or unknown or len(set(wanted)) < len(wanted):
            told = f"inputs {sorted(inputs)}, outputs {list(wanted)} do not match the signature"
            raise json_rules.RefusedError(grpc.StatusCode.INVALID_ARGUMENT, told)
        for name, info in definition.inputs.items():
            dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
            if tf.as_dtype(inputs[name].dtype) != dtype or not shape.is_compatible_with(inputs[name].shape):
                told = f"{name}: {inputs[name].dtype} {inputs[name].shape} is no {dtype} {shape}"
                raise json_rules.RefusedError(grpc.StatusCode.INVALID_ARGUMENT, told)
        rows = max(len(values) for values in inputs.values())
        if rows > self.limit:
            told = f"Task size {rows} is larger than maximum input batch size {self.limit}"
            raise json_rules.RefusedError(grpc.StatusCode.INVALID_ARGUMENT, told)
        outputs = self.functions[signature](**{name: tf.constant(values) for name, values in inputs.items()})
        return {name: values.numpy() for name, values in outputs.items() if not wanted or name in wanted}


class Model:
    """The loaded versions of a model and their labels."""

    def __init__(self, config, folder, limit):
        found = sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"[0-9]+", path.name))
        policy = config.model_version_policy
        served = found[-max(policy.latest.num_versions, 1) :]
        if policy.WhichOneof("policy_choice") in ("all", "specific"):
            served = [version for version in found if policy.HasField("all") or version in policy.specific.versions]
        self.name = config.name
        self.versions = {version: Version(folder / str(version), limit) for version in served}
        self.labels = dict(config.version_labels)

    def version(self, number, label):
        if label and label not in self.labels:
            raise json_rules.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
            )
        chosen = self.labels[label] if label else number or max(self.versions)
        if chosen not in self.versions:
            raise json_rules.RefusedError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {self.name} {chosen}"
            )
        return self.versions[chosen]


def options(command):
    """Reads mounts and server flags from a `docker run` command, and refuses what this stand-in does not know."""
    words = shlex.split(command.replace("\\\n", " "))  # as a shell joins lines
    split = words.index("tensorflow/serving")
    assert words[:7] == ["docker", "run", "--rm", "-p", "8500:8500", "-p", "8501:8501"]
    mounts = {}
    for flag, value in zip(words[7:split:2], words[8:split:2], strict=True):
        assert flag == "--mount"
        (parts,) = csv.reader([value])
        pairs = dict(part.partition("=")[::2] for part in parts)
        mounts[pairs["target"]] = pathlib.Path(pairs["source"])
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words[split + 1 :])
    known = {"model_config_file", "model_config_file_poll_wait_seconds", "enable_batching", "batching_parameters_file"}
    assert (
        {"enable_batching", "batching_parameters_file"}
        < set(flags)
        <= known | {"allow_version_labels_for_unavailable_models"}
    )
    return mounts, flags


def outside(mounts, path):
    """Returns where a path of the container lies outside of it."""
    for target, source in mounts.items():
        if path == target or path.startswith(target + "/"):
            return source / path.removeprefix(target).lstrip("/")
    raise StartError(f"nothing is mounted at {path}")


def started(command):
    """Loads the models of a `docker run` command as the server would."""
    mounts, flags = options(command)
    text = outside(mounts, flags["model_config_file"]).read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    lines = outside(mounts, flags["batching_parameters_file"]).read_text().splitlines()
    batching = dict(re.fullmatch(rf"({NUMBERS}) {{ value: (\d+) }}", line).groups() for line in lines)
    models = {}
    for part in config.model_config_list.config:
        assert part.model_platform == "tensorflow"
        if part.version_labels and "allow_version_labels_for_unavailable_models" not in flags:
            raise StartError("labels for versions that are not loaded yet")
        models[part.name] = Model(part, outside(mounts, part.base_path), int(batching["max_batch_size"]))
    return models


def definitions(version):
    """Returns the signatures' definitions as the metadata reply packs them."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in version.definitions.items():
        found.signature_def[name].CopyFrom(definition)
    return found


class Rest(http.server.BaseHTTPRequestHandler):
    """The REST address."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(lambda: self.predict(json.loads(body)))

    def do_GET(self):
        self.reply(self.told)

    def chosen(self, pattern):
        match = pattern.fullmatch(self.path)
        if not match:
            raise json_rules.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}"
            )
        if match[1] not in self.server.models:
            told = f"Servable not found for request: Latest({match[1]})"
            raise json_rules.RefusedError(grpc.StatusCode.NOT_FOUND, told)
        return self.server.models[match[1]], match[2] and int(match[2]), match[3], match

    def predict(self, body):
        model, number, label, _ = self.chosen(PREDICT)
        version = model.version(number, label)
        signature = body.get("signature_name", "serving_default")
        inputs = json_rules.inputs_of(body, version.definition(signature).inputs)
        return json_rules.answer(version.run(signature, inputs), "instances" in body)

    def told(self):
        model, number, label, match = self.chosen(STATUS)
        if match[4]:
            found = json_format.MessageToDict(
                definitions(model.version(number, label)), preserving_proto_field_name=True
            )
            return {"model_spec": {"name": model.name}, "metadata": {"signature_def": found}}
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(model.versions):
            state = reply.model_version_status.add(version=version, state="AVAILABLE")
            state.status.error_code = code_pb2.OK
        return json_format.MessageToDict(
            reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    def reply(self, make):
        try:
            status, content = 200, make()
        except json_rules.RefusedError as error:
            status, content = HTTP[error.code], {"error": str(error)}
        text = json.dumps(content, indent=4).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC address."""

    def __init__(self, models):
        self.models = models

    def version(self, spec, context):
        if spec.name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        return self.models[spec.name].version(spec.version.value, spec.version_label)

    def predict(self, request, context):
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        try:
            version = self.version(request.model_spec, context)
            signature = request.model_spec.signature_name or "serving_default"
            outputs = version.run(signature, inputs, list(request.output_filter))
        except json_rules.RefusedError as error:
            context.abort(error.code, str(error))
        return predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(values) for name, values in outputs.items()}
        )

    def metadata(self, request, context):
        assert list(request.metadata_field) == ["signature_def"]
        reply = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        reply.metadata["signature_def"].Pack(definitions(self.version(request.model_spec, context)))
        return reply

    Predict = predict
    GetModelMetadata = metadata


@contextlib.contextmanager
def serving(command):
    """Serves what a `docker run` command says, on free ports: gives `host:port` for REST and for gRPC, and the models.

    All that was opened is closed at the end.
    """
    models = started(command)
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    rest.models = models
    thread = threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.01})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        remote = grpc.server(pool)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(models), remote)
        port = remote.add_insecure_port("127.0.0.1:0")
        remote.start()
        thread.start()
        try:
            yield f"127.0.0.1:{rest.server_address[1]}", f"127.0.0.1:{port}", models
        finally:
            remote.stop(None).wait()
            rest.shutdown()
            thread.join()
            rest.server_close()
