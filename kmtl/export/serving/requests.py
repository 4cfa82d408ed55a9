"""Ready requests to a TensorFlow Serving server, with real samples and the real replies."""

import json
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl.export import describing, images, placing, sampling, signatures
from kmtl.export.serving import calls, policies, texts

_OWNER = "request_examples"
_HOST = re.compile(r"[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:]+\]")


def request_examples(
    artifact: str | os.PathLike[str],
    samples: Any,
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    files: Mapping[str, bytes] | None = None,
    host: str = "localhost",
    rest_port: int = 8501,
    grpc_port: int = 8500,
) -> Path:
    """Writes requests that work as they stand, one row each, for every signature of an exported version.

    - `curl.sh`: each signature by REST, in row format and in column format; long bodies lie beside, in `requests/`.
    - `grpc_client.py`: the same by gRPC, and the joint signature asked for one output alone. It needs the packages
      `grpcio` and `tensorflow-serving-api`, and reads the arrays and image files in `samples/`.
    - `replies.md`: what the server answers, from running the signatures here, spelled by the rules of its REST page.

    Args:
        artifact: Folder of one version, as `saved_model` returned it.
        samples: Inputs with a batch dimension, of which the first row is taken: an array if there is one input, else
            a dict by input name.
        out: Folder for what is written; made if absent. Files of an earlier call are replaced, each in one step.
        name: What the server calls the model; None takes the name of the folder that holds the version.
        files: One JPEG or PNG file by input name, for signatures that take image files; for an input left out, the
            sample is written as PNG.
        host: The server's host.
        rest_port: Its port for REST.
        grpc_port: Its port for gRPC.

    Returns:
        `out`.

    Raises:
        ValueError: If the artifact is no SavedModel, the samples do not fit its inputs, a name cannot stand in an
            address, or `out` cannot be a folder; all at once.

    >>> import tempfile
    >>> module = tf.Module()
    >>> one = tf.function(lambda row: {"sum": tf.reduce_sum(row, 1)}, input_signature=[tf.TensorSpec((None, 2))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tf.saved_model.save(module, folder + "/sums/1", {"sum": one.get_concrete_function()})
    ...     written = request_examples(folder + "/sums/1", [[1.0, 2.0]], folder + "/requests")
    ...     sorted(path.name for path in written.iterdir())
    ['curl.sh', 'grpc_client.py', 'replies.md', 'requests', 'samples']
    """
    version, target = Path(artifact).resolve(), Path(out)
    server = calls.Server(name or version.parent.name, host, rest_port, grpc_port)
    with _checks.Refusals(_OWNER) as refusals:
        _refuse_server(refusals, server)
        placing.refuse_folder(refusals, "out", target)
        functions = _signatures(refusals, version)
        arrays, wanted = _samples(refusals, functions, samples) if functions else ({}, [])
        _refuse_files(refusals, (files or {}) if functions else {}, wanted)
    pictures = {name: (files or {}).get(name) or _picture(version, name, arrays[name]) for name in wanted}
    made = [_call(signature, function, arrays, pictures) for signature, function in functions.items()]
    contents = texts.contents(server, made, arrays, pictures)
    with placing.beside(target) as scratch:
        for number, (path, content) in enumerate(contents.items()):
            written = scratch / str(number)
            written.write_bytes(content)
            written.chmod(0o755 if path == "curl.sh" else 0o644)
            (target / path).parent.mkdir(exist_ok=True)
            written.replace(target / path)
    return target


def _refuse_server(refusals: _checks.Refusals, server: calls.Server) -> None:
    """Records a name, a host or ports that make no address."""
    policies.model_name(refusals, "name", server.name)
    if not isinstance(server.host, str) or not _HOST.fullmatch(server.host):
        refusals.add("host", "must be a host's name or number", server.host)
    for argument in ("rest_port", "grpc_port"):
        port = getattr(server, argument)
        if not _checks.is_whole(port) or not 1 <= port <= 65535:
            refusals.add(argument, "must be a whole number from 1 to 65535", port)


def _signatures(refusals: _checks.Refusals, version: Path) -> dict[str, Any]:
    """Loads the signatures, the joint one first."""
    if not (version / "saved_model.pb").is_file():
        versions = sorted(entry.parent.name for entry in version.glob("*/saved_model.pb"))
        fix = f"Pass one of its versions: {', '.join(versions)}." if versions else "Export the model first."
        refusals.add("artifact", "must be the folder of one SavedModel", str(version), fix)
        return {}
    found = tf.saved_model.load(str(version)).signatures
    return {name: found[name] for name in sorted(found, key=lambda name: (name != signatures.JOINT, name))}


def _specs(function: Any) -> dict[str, Any]:
    """Returns the form of each input of a signature, by the name that a request gives it.

    The keys may be other: TensorFlow makes Python identifiers of them.
    """
    return {spec.name or key: spec for key, spec in function.structured_input_signature[1].items()}


def _samples(
    refusals: _checks.Refusals, functions: Mapping[str, Any], samples: Any
) -> tuple[dict[str, Any], list[str]]:
    """Returns one row of each input, and the names of those that some signatures take as image files.

    An input that one signature takes as strings and another as numbers is one of images.
    """
    seen = [(name, spec) for function in functions.values() for name, spec in _specs(function).items()]
    specs = dict(sorted(seen, key=lambda pair: pair[1].dtype != tf.string))
    inputs = [types.SimpleNamespace(name=name, shape=spec.shape, dtype=spec.dtype.name) for name, spec in specs.items()]
    arrays = sampling.arrays(refusals, types.SimpleNamespace(inputs=inputs), samples)
    strings = {name for name, spec in seen if spec.dtype == tf.string}
    wanted = [name for name, spec in specs.items() if name in strings and spec.dtype != tf.string]
    return {name: array[:1] for name, array in arrays.items() if array.ndim}, wanted


def _refuse_files(refusals: _checks.Refusals, files: Mapping[str, bytes], wanted: list[str]) -> None:
    """Records image files that no signature takes, and what is no file's content."""
    for name, content in files.items():
        if name not in wanted:
            refusals.add("files", f"must be for inputs among {wanted}", name)
        elif not isinstance(content, bytes):
            refusals.add("files", f"must be bytes for input {name!r}", content, "Read them: Path(...).read_bytes().")


def _picture(version: Path, name: str, row: Any) -> bytes:
    """Writes a sample as PNG, by the artifact's own settings or those of `Images()`."""
    description = version / "assets.extra" / describing.FILE
    told = json.loads(description.read_text(encoding="utf-8")) if description.exists() else {}
    content: bytes = images.written(row, images.Images(**told.get("images", {}).get(name, {})))[0]
    return content


def _call(signature: str, function: Any, arrays: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Any:
    """Runs a signature on the sample."""
    files = [name for name, spec in _specs(function).items() if spec.dtype == tf.string and name in pictures]
    inputs = {name: np.array([pictures[name]], object) if name in files else arrays[name] for name in _specs(function)}
    with tf.device("CPU:0"):
        outputs = function(**{name: tf.constant(values) for name, values in inputs.items()})
    # Strings come back as bytes, text and files alike.
    sent = {name: tf.constant(values).numpy() for name, values in inputs.items()}
    return calls.Call(signature, sent, {name: outputs[name].numpy() for name in sorted(outputs)}, files)
