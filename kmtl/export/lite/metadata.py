"""What a LiteRT file tells of itself: a description inside the file that every interpreter passes over."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmtl import _checks
from kmtl.export import describing

_KIND = b"TFL3"
# The format asks for weights at multiples of it; kernels read them in place, many numbers at a time.
_ALIGNMENT = 16


def add(content: bytes, told: Mapping[str, Any], line: str) -> bytes:
    """Returns a LiteRT file with a description in it, computing what it did.

    Args:
        content: The file.
        told: The description, as JSON knows it, kept under the name `kmtl.json`.
        line: One line for people, as viewers of such files show it.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    model.description = line
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(describing.text(told).encode())
    entry.name, entry.buffer = describing.FILE, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    builder = _builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_KIND)
    return bytes(builder.Output())


def _builder(size: int) -> Any:
    """Returns a builder that aligns weights, which the package's own does not, and stores equal arrays once.

    Every signature has its own record of each tensor; with them the scales of each channel come again and again.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.known: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the package's
            key = (x.dtype.str, x.tobytes())
            if key not in self.known:
                self.known[key] = super().CreateNumpyVector(x)
            return self.known[key]

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803 - the package's
            # Weights are bytes, and no other vector is.
            return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)

    return Builder(size)


def read(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads the description that `litert` put into a file.

    Args:
        path: A LiteRT file, of any maker.

    Returns:
        What `describing.description` tells, with `quantize`, `signatures` and `quality` beside it; None if the file
        has no such description.

    Raises:
        ValueError: If it is no LiteRT file, or its description is damaged.
        OSError: If it cannot be read.

    >>> read("setup.cfg")
    Traceback (most recent call last):
    ...
    ValueError: litert_metadata: `path` must be a LiteRT file, got 'setup.cfg'.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = Path(path).read_bytes()
    is_litert = len(content) >= 2 * len(_KIND) and schema.Model.ModelBufferHasIdentifier(content, 0)
    _checks.require(is_litert, "litert_metadata", "path", "must be a LiteRT file", str(path))
    try:
        found = _entry(schema.Model.GetRootAs(content))
        return None if found is None else json.loads(found)
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        got = _checks.words(f"a damaged description in {str(path)!r}")
        fix = "Export the model again."
        raise ValueError(_checks.refusal("litert_metadata", "path", "must be whole", got, fix)) from error


def _entry(model: Any) -> bytes | None:
    """Returns the bytes of the description, or None."""
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name() == describing.FILE.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return None
