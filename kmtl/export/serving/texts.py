"""The files of ready requests: a shell script, a Python client, their samples, and the replies in Markdown."""

import io
import json
import shlex
import string
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl.export.serving import calls, clients

_INLINE = 300  # letters of a body that a shell line still shows well
_SHOWN = 3000  # letters of a reply that a page still shows well


def contents(
    server: calls.Server, made: list[calls.Call], arrays: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Returns all files by their path: the samples, the bodies, the scripts, the replies."""
    found = {calls.array_path(name): _array_file(array) for name, array in arrays.items()}
    found |= {calls.picture_path(name): picture for name, picture in pictures.items()}
    for call in made:
        for form, (request, _) in call.formats().items():
            found[calls.body_path(call, form)] = json.dumps(request).encode()
    texts = {
        "curl.sh": _curl(server, made),
        "grpc_client.py": clients.text(server, made, arrays, pictures),
        "replies.md": _replies(server, made),
    }
    return found | {path: text.encode() for path, text in texts.items()}


def _array_file(array: Any) -> bytes:
    """Returns an array in NumPy's file format."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _curl(server: calls.Server, made: list[calls.Call]) -> str:
    """Returns the shell script, one `curl` for each signature and format."""
    parts = [_CURL.substitute(name=server.name, ask=_ASK, address=f"http://{server.host}:{server.rest_port}")]
    for call in made:
        for form, (request, _) in call.formats().items():
            body = json.dumps(request)
            data = body if len(body) <= _INLINE else f"@{calls.body_path(call, form)}"
            title = shlex.quote(f"== {call.signature}, {form}")
            parts.append(f'\necho {title}\n{_ASK} "${{model}}:predict" --data {shlex.quote(data)}\n')
    return "".join(parts)


_ASK = r"curl --silent --show-error --fail-with-body --write-out '\n'"
_CURL = string.Template(
    """\
#!/bin/sh
# Asks TensorFlow Serving for predictions of $name by REST; replies.md has the answers.
# Another server: SERVER=http://other.host:8501 ./curl.sh
set -eu
cd "$$(dirname "$$0")"
model="$${SERVER:-$address}/v1/models/$name"

echo '== status'
$ask "$${model}"

echo '== metadata'
$ask "$${model}/metadata"
"""
)


def _replies(server: calls.Server, made: list[calls.Call]) -> str:
    """Returns the page of replies."""
    parts = [_REPLIES.substitute(name=server.name)]
    for call in made:
        parts += [f"\n## {call.signature}\n\n| output | dtype | shape |\n|---|---|---|\n"]
        parts += [f"| {name} | {calls.dtype_name(array)} | {array.shape} |\n" for name, array in call.outputs.items()]
        if not call.formats():
            parts.append("\nJSON does not carry all of these dtypes and the inputs': ask by gRPC.\n")
        for form, (_, reply) in call.formats().items():
            text = json.dumps(reply)
            block = f"json\n{text}" if len(text) <= _SHOWN else f"text\n{text[:_SHOWN]} ..."
            parts.append(f"\n{form.capitalize()}:\n\n```{block}\n```\n")
    return "".join(parts)


_REPLIES = string.Template(
    """\
# Replies of $name

What the requests of `curl.sh` bring, from running each signature on the same row. A server may order keys otherwise and
differ in a last digit. In row format a signature of one output gives the bare value, without the output's name.
"""
)
