"""Tells what an artifact holds, whatever its form, without running it."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

from kmtl import _checks
from kmtl._table import Result, Table
from kmtl.export import artifacts, describing, keras_files, placing, signatures, stored_descriptions
from kmtl.export.lite import metadata
from kmtl.export.onnx import read_description

_FORMS = ("a folder of versions", "one version", "a .tflite file", "an .onnx file", "a .keras file")
_SHOWN = 12


@dataclasses.dataclass(frozen=True, repr=False)
class Inspection(Result):
    """What `inspect` found: print it, or take its `table()` of tasks.

    Attributes:
        path: What was looked at; of a folder of versions the highest.
        form: `"SavedModel"`, `"LiteRT"`, `"ONNX"` or `"Keras"`.
        size: Bytes on disk, all files together.
        versions: Versions in the folder, if it was one.
        told: What the artifact tells of itself: see `kmtl.export.describing.description`; nothing if it is not kmtl's.
        signatures: For each signature `inputs` and `outputs`: `shape` and `dtype` by name.
    """

    path: Path
    form: str
    size: int
    versions: tuple[int, ...]
    told: Mapping[str, Any]
    signatures: Mapping[str, Any]

    def parts(self) -> list[str | Table]:
        """A headline, the tasks, the signatures and the metrics."""
        found: list[str | Table] = [_headline(self)]
        for table in (_tasks(self.told.get("tasks", {})), _signatures(self.signatures)):
            found += ["", table] if table.cells else []
        metrics = {name: value for name, value in (self.told.get("metrics") or {}).items() if value is not None}
        if metrics:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            found += ["", _checks.printable(f"metrics: {shown}")]
        return found


def inspect(artifact: str | os.PathLike[str]) -> Inspection:
    """Looks at a SavedModel, a folder of versions, a LiteRT, an ONNX or a `.keras` file.

    Args:
        artifact: Its path. Artifacts of other makers are shown, too, as far as they tell of themselves.

    Returns:
        What it holds; print it.

    Raises:
        ValueError: If it is none of these or cannot be read.

    >>> import tempfile
    >>> import keras
    >>> import kmtl.export
    >>> image = keras.Input((2,), name="image")
    >>> model = keras.Model(image, {"digit": keras.layers.Dense(3)(image), "angle": keras.layers.Dense(1)(image)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = inspect(kmtl.export.saved_model(model, folder))
    >>> found.form, list(found.told["tasks"]), list(found.signatures)
    ('SavedModel', ['digit', 'angle'], ['serving_default', 'digit', 'angle'])
    """
    path = Path(artifact)
    versions = tuple(_served(path)) if path.is_dir() and not (path / "saved_model.pb").exists() else ()
    if versions:
        path = next(entry for entry in path.iterdir() if placing.number(entry) == versions[-1])
    form, look = _reader(path)
    try:
        told, found = look(path)
    except (ValueError, KeyError, RuntimeError, message.DecodeError) as error:
        got = _checks.words(f"{path}: {str(error).partition(chr(10))[0].rstrip('.')}")
        raise ValueError(_checks.refusal("inspect", "artifact", "must be whole", got, "Export it again.")) from error
    return Inspection(path, form, artifacts.size_of(path), versions, told, _ordered(told, found))


def _served(folder: Path) -> list[int]:
    """Versions in a folder, in ascending order."""
    found = [placing.number(entry) for entry in folder.iterdir() if (entry / "saved_model.pb").is_file()]
    return sorted(version for version in found if version is not None)


def _ordered(told: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Puts signatures and outputs in the order in which the artifact lists them; its format keeps none."""
    listed = {name: place for place, name in enumerate(told.get("signatures", ()))}
    tasks = {name: place for place, name in enumerate(told.get("tasks", ()))}
    last = len(listed)
    names = sorted(found, key=lambda name: (listed.get(name, last), name != signatures.JOINT, name))

    def outputs(of: str) -> dict[str, Any]:
        given = found[of]["outputs"]
        # What is decoded is named after its task.
        owner = {name: max((task for task in tasks if name.startswith(task)), key=len, default="") for name in given}
        return {name: given[name] for name in sorted(given, key=lambda name: (tasks.get(owner[name], -1), name))}

    return {name: {**found[name], "outputs": outputs(name)} for name in names}


def _reader(path: Path) -> tuple[str, Callable[[Path], tuple[dict[str, Any], dict[str, Any]]]]:
    """Returns the form of an artifact and what reads it."""
    known = {"SavedModel": _saved_model, "LiteRT": _litert, "ONNX": _onnx, "Keras": _keras}
    form = artifacts.form_of(path)
    rule = f"must be {', '.join(_FORMS[:-1])} or {_FORMS[-1]}"
    got = artifacts.told_of(path)
    _checks.require(form in known, "inspect", "artifact", rule, got)
    return form, known[form]


def _saved_model(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what a SavedModel tells and its signatures, without its weights."""
    told = stored_descriptions.read(path / "assets.extra" / describing.FILE)
    graphs = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    served = next((graph for graph in graphs if "serve" in graph.meta_info_def.tags), None)
    if served is None:
        raise ValueError("no graph with the tag 'serve'")
    return told, {
        name: {"inputs": _infos(definition.inputs), "outputs": _infos(definition.outputs)}
        for name, definition in served.signature_def.items()
        if not name.startswith("__")  # how TensorFlow marks an operation of initialisation
    }


def _infos(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and dtype of the tensors of a signature."""
    return {
        name: {
            "shape": [None if size.size < 0 else size.size for size in info.tensor_shape.dim],
            "dtype": tf.as_dtype(info.dtype).name,
        }
        for name, info in infos.items()
    }


def _litert(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what a LiteRT file tells and its signatures."""
    from ai_edge_litert.interpreter import Interpreter

    told = stored_descriptions.checked(metadata.read(path))
    interpreter = Interpreter(model_path=str(path))
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    return told, {
        name: {"inputs": _details(one.get_input_details()), "outputs": _details(one.get_output_details())}
        for name, one in runners.items()
    }


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and dtype of the tensors of a LiteRT signature."""
    return {
        name: {
            "shape": [None if size < 0 else int(size) for size in detail["shape_signature"]],
            "dtype": np.dtype(detail["dtype"]).name,
        }
        for name, detail in details.items()
    }


def _onnx(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what an ONNX file tells, which has one graph and no signatures."""
    return stored_descriptions.checked(read_description(path)), {}


def _keras(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what a `.keras` file would tell once exported."""
    model = keras_files.load_keras(path)
    with _checks.Refusals("inspect") as refusals:
        outputs = signatures.task_outputs(refusals, model)
    return describing.description(model, outputs, name=path.stem), {}


def _headline(found: Inspection) -> str:
    """One line on the artifact, one on how it was made."""
    versions = f", versions {', '.join(map(str, found.versions))}" if found.versions else ""
    lines = [f"{found.path}: {found.form}, {found.size:,} bytes{versions}"]
    if found.told:
        made = dict(found.told["made"])
        quantized = f", quantized {found.told['quantize']}" if found.told.get("quantize") else ""
        packages = ", ".join(f"{name} {version}" for name, version in made.items() if name != "time")
        lines.append(f"{found.told['parameters']:,} parameters{quantized}; made {made['time']} with {packages}")
    return _checks.printable("\n".join(lines))


def _tasks(tasks: Mapping[str, Any]) -> Table:
    """The tasks as a table."""
    rows = [
        {
            "task": name,
            "kind": task["kind"] or "-",
            "shape": _shape(task["shape"]),
            "unit": task["unit"] or "-",
            "labels": _labels(task["label_names"]),
        }
        for name, task in tasks.items()
    ]
    return Table(rows, align="left")


def _signatures(found: Mapping[str, Any]) -> Table:
    """The signatures as a table."""
    rows = [
        {"signature": name, "takes": _tensors(one["inputs"]), "gives": _tensors(one["outputs"])}
        for name, one in found.items()
    ]
    return Table(rows, align="left")


def _tensors(tensors: Mapping[str, Any]) -> str:
    """Names with type and shape."""
    return ", ".join(f"{name} {one['dtype']} {_shape(one['shape'])}" for name, one in tensors.items())


def _shape(sizes: Sequence[int | None]) -> str:
    """A shape; a size that may be any is `?`."""
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"


def _labels(names: Sequence[str] | None) -> str:
    """The first label names, in quotes, so that none breaks the line."""
    shown = [json.dumps(name, ensure_ascii=not name.isprintable()) for name in (names or ())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if names and len(names) > _SHOWN else "") or "-"
