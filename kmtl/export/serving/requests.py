"""Ready requests to a TensorFlow Serving server, with real samples and the real replies."""

import io
import json
import os
import re
import shlex
import string
import types
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl._shown_path import ShownPath
from kmtl.export import artifacts, describing, images, placing, sampling, signatures, stored_descriptions
from kmtl.export.serving import policies, rest_json

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
) -> Path:
    """Writes requests that work as they stand, one row each, for every signature of an exported version.

    - `curl.sh`: each signature by REST, in row format and in column format, with the bodies in `requests/`.
    - `replies/`: what the server answers, under the same names, from running the signatures here, spelled by the rules
      of its REST page. A signature with a dtype that JSON does not carry has neither: ask it by gRPC.
    - `samples/`: the row as arrays and as image files, for requests by gRPC; `docs/serving.md` has a client.

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
    ['curl.sh', 'replies', 'requests', 'samples']
    """
    version, target = Path(artifact).resolve(), Path(out)
    name = version.parent.name if name is None else name
    with _checks.Refusals(_OWNER) as refusals:
        _refuse_server(refusals, name, host, rest_port)
        placing.refuse_folder(refusals, "out", target)
        functions = {} if artifacts.refuse_form(refusals, version, "SavedModel") else _signatures(version)
        arrays, wanted = _samples(refusals, functions, samples) if functions else ({}, [])
        _refuse_files(refusals, (files or {}) if functions else {}, wanted)
    pictures = {name: (files or {}).get(name) or _picture(version, name, arrays[name]) for name in wanted}
    contents = {f"samples/{_file_name(name)}.npy": _array_file(array) for name, array in arrays.items()}
    contents |= {f"samples/{_file_name(name)}.image": picture for name, picture in pictures.items()}
    script = _HEAD.substitute(name=name, address=f"http://{host}:{rest_port}")
    for signature, function in functions.items():
        for form, (request, reply) in _exchanges(signature, function, arrays, pictures).items():
            body = f"{_file_name(signature)}.{form}.json"
            contents[f"requests/{body}"] = json.dumps(request).encode()
            contents[f"replies/{body}"] = json.dumps(reply).encode()
            script += _ASK.substitute(title=shlex.quote(f"== {signature}, {form}"), path=f"requests/{body}")
    _write(target, {**contents, "curl.sh": script.encode()})
    return ShownPath(target)


def _write(target: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files by their path below a folder, each in one step."""
    with placing.beside(target) as scratch:
        for number, (path, content) in enumerate(contents.items()):
            written = scratch / str(number)
            written.write_bytes(content)
            written.chmod(0o755 if path == "curl.sh" else 0o644)
            (target / path).parent.mkdir(exist_ok=True)
            written.replace(target / path)


def _file_name(name: str) -> str:
    """Returns a file name of its own for each name, whatever letters it has."""
    return urllib.parse.quote(name, safe="")


def _array_file(array: Any) -> bytes:
    """Returns an array in NumPy's file format."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _refuse_server(refusals: _checks.Refusals, name: Any, host: Any, port: Any) -> None:
    """Records a name, a host or a port that make no address."""
    policies.model_name(refusals, "name", name)
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        refusals.add("host", "must be a host's name or number", host)
    if not _checks.is_whole(port) or not 1 <= port <= 65535:
        refusals.add("rest_port", "must be a whole number from 1 to 65535", port)


def _signatures(version: Path) -> dict[str, Any]:
    """Loads the signatures, the joint one first."""
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
    told = stored_descriptions.read(version / "assets.extra" / describing.FILE)
    content: bytes = images.encode(row, images.Images(**told.get("images", {}).get(name, {})))[0]
    return content


def _exchanges(
    signature: str, function: Any, arrays: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Runs a signature on the sample; returns the request and the reply of both REST formats, if JSON carries them."""
    given = {}
    for name, spec in _specs(function).items():
        is_file = spec.dtype == tf.string and name in pictures
        given[name] = tf.constant(np.array([pictures[name]], object) if is_file else arrays[name])
    with tf.device("CPU:0"):
        found = function(**given)
    # Strings come back as bytes, text and files alike.
    inputs = {name: values.numpy() for name, values in given.items()}
    outputs = {name: found[name].numpy() for name in sorted(found)}
    if not rest_json.carries([*inputs.values(), *outputs.values()]):
        return {}
    return {
        "rows": (rest_json.row_request(signature, inputs), rest_json.row_reply(outputs)),
        "columns": (rest_json.column_request(signature, inputs), rest_json.column_reply(outputs)),
    }


_HEAD = string.Template(
    """\
#!/bin/sh
# Asks TensorFlow Serving for predictions of $name by REST; replies/ has the answers.
# Another server: SERVER=http://other.host:8501 ./curl.sh
set -eu
cd "$$(dirname "$$0")"
model="$${SERVER:-$address}/v1/models/$name"
ask() { curl --silent --show-error --fail-with-body --write-out '\\n' "$$@"; }

echo '== status'
ask "$${model}"

echo '== metadata'
ask "$${model}/metadata"
"""
)
_ASK = string.Template("""
echo $title
ask "$${model}:predict" --data @$path
""")
