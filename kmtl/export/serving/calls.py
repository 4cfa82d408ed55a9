"""One signature of a served model run on one row, and the files that its requests lie in."""

import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import Any

from kmtl.export.serving import replies


@dataclasses.dataclass(frozen=True)
class Server:
    """Where the model is served and under which name."""

    name: str
    host: str
    rest_port: int
    grpc_port: int


@dataclasses.dataclass(frozen=True)
class Call:
    """One signature run on one row.

    Attributes:
        signature: Its name.
        inputs: Arrays by name, strings as bytes.
        outputs: Arrays by name.
        files: Names of the inputs that are image files.
    """

    signature: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    files: list[str]

    def formats(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """Returns the request and the reply of both REST formats; none if JSON does not carry all dtypes."""
        if not {dtype_name(array) for array in (*self.inputs.values(), *self.outputs.values())} <= replies.DTYPES:
            return {}
        return {
            "rows": (replies.row_request(self.signature, self.inputs), replies.row_reply(self.outputs)),
            "columns": (replies.column_request(self.signature, self.inputs), replies.column_reply(self.outputs)),
        }


def dtype_name(array: Any) -> str:
    """Returns the dtype as TensorFlow calls it."""
    return "string" if array.dtype == object else str(array.dtype)


def _safe(name: str) -> str:
    """Returns a file name of its own for each name, whatever letters it has."""
    return urllib.parse.quote(name, safe="")


def array_path(name: str) -> str:
    """Returns where the sample of an input lies."""
    return f"samples/{_safe(name)}.npy"


def picture_path(name: str) -> str:
    """Returns where the image file of an input lies."""
    return f"samples/{_safe(name)}.image"


def body_path(call: Call, form: str) -> str:
    """Returns where the body of a REST request lies; `form` is "rows" or "columns"."""
    return f"requests/{_safe(call.signature)}.{form}.json"
