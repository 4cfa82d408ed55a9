"""ONNX: one file for onnxruntime, on servers and devices, in a dozen languages, without TensorFlow."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import message

from kmtl import _checks, _extras, _keras_private
from kmtl._shown_path import ShownPath
from kmtl.export import describing, placing, precision, signatures, stems

_NO_TEXT = "ONNX splits no text: export a SavedModel, or let the model read kmtl.trunks.word_numbers."
_REPLACE = "Do that step in the data, replace the layer, or export a SavedModel."


@_checks.known_keywords
def onnx(
    model: Any,
    path: str | os.PathLike[str],
    tasks: Sequence[str] | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Writes the model as an ONNX file, through Keras's own exporter.

    Inputs carry the names of the `Input` layers, outputs those of the tasks, and the batch may have any size. An ONNX
    file has one graph and no signatures: ask onnxruntime for one task by `session.run([task], inputs)`, which runs only
    what this task needs, and for all by `session.run(None, inputs)`. Standard operators only; a model in mixed
    precision is rebuilt in float32 with its weights first. The file holds its description, which `read_description`
    reads. It may have 2 GB at most.

    Needs the extra `onnx`.

    Args:
        model: A functional `keras.Model` with a dict of outputs keyed by task name, such as `kmtl.MultiTaskModel`.
        path: The file, ending in `.onnx`. An existing one is replaced in one step, once the new one is whole.
        tasks: Names of the tasks to keep, whose heads alone are written; None keeps all.
        metrics: What to tell of the model's quality, as `evaluate(test, return_dict=True)` returns.

    Returns:
        The file written.

    Raises:
        ImportError: If a package of the extra is absent.
        OSError: If the disk is full or must not be written to; an old file stays what it was.
        ValueError: If the model has no dict of outputs, an illegal task name, a task that bears an input's name, an
            input of text, or an operation that ONNX lacks, if a task is not there, or if `path` ends otherwise, is a
            folder or lies below a file.

    >>> import keras
    >>> image = keras.Input((2,), name="image")
    >>> model = keras.Model(image, {"digit": keras.layers.Dense(3)(image), "angle": keras.layers.Dense(1)(image)})
    >>> onnx(model, "digits.h5")
    Traceback (most recent call last):
    ...
    ValueError: onnx: `path` must end in .onnx, got 'digits.h5'. Write 'digits.onnx'.
    """
    target = Path(path)
    for package in ("onnx", "tf2onnx"):
        _extras.load(package, "onnx")
    with _checks.Refusals("onnx") as refusals:
        outputs = signatures.task_outputs(refusals, model, tasks)
        signatures.refuse_unlearned(refusals, model, outputs)
        placing.refuse_file(refusals, target, ".onnx")
        describing.refuse_description(refusals, metrics, None)
        for name in {tensor.name for tensor in model.inputs} & outputs.keys() if outputs else ():
            refusals.add("model", "must name no task as an input", name, "ONNX has one namespace: rename the Input.")
        if outputs:
            signatures.refuse_text(refusals, model, _NO_TEXT)
    told = describing.description(model, outputs, name=target.stem, metrics=metrics)
    with placing.explain_disk_errors("onnx", target.parent), placing.beside(target.parent) as scratch:
        finished = scratch / "model.onnx"
        _write(model, outputs, describing.text(told), finished)
        return ShownPath(finished.replace(target))


def read_description(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads what a file tells of itself, without running it.

    Args:
        path: An ONNX file.

    Returns:
        What `describing.description` gave when the file was written; None for a file that is not kmtl's.

    Raises:
        ImportError: If the package `onnx` is absent.
        OSError: If the file cannot be read.
        ValueError: If it is no ONNX file.
    """
    package = _extras.load("onnx", "read_description")
    content = Path(path).read_bytes()
    try:
        proto = package.load_model_from_string(content)
        entries = {entry.key: entry.value for entry in proto.metadata_props}
        told: dict[str, Any] | None = json.loads(entries.get(describing.FILE, "null"))
    except (message.DecodeError, ValueError, RecursionError):
        proto = None
    if proto is None or not proto.HasField("graph"):
        got = _checks.words(str(path))
        raise ValueError(_checks.refusal("read_description", "path", "must be an ONNX file", got, "Export it again."))
    return told


def _write(model: Any, outputs: Mapping[str, Any], told: str, finished: Path) -> None:
    """Converts what `outputs` need and writes it, whole and checked, to `finished`."""
    package = _extras.load("onnx", "onnx")
    # The exporter takes names apart at their dots and dashes; it gets plain ones, and the real ones come afterwards.
    plain = {f"output_{place:06}": tensor for place, tensor in enumerate(outputs.values())}
    part = precision.in_float32(signatures.inference_part(model, plain))
    names = {f"input_{place:06}": tensor.name for place, tensor in enumerate(part.inputs)}
    names.update(zip(plain, outputs, strict=True))
    _convert(part, list(names), finished)
    proto = package.load(finished)
    _refuse_foreign_ops(package, proto)
    _rename(proto.graph, names)
    _free_batch(proto.graph)
    proto.metadata_props.add(key=describing.FILE, value=told)
    with _refusing():
        package.checker.check_model(proto, full_check=True)
    package.save(proto, finished)


def _convert(part: Any, names: list[str], finished: Path) -> None:
    """Runs Keras's exporter on a model, whose inputs are to take the first of `names`."""
    specs = [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name)
        for name, tensor in zip(names, part.inputs, strict=False)
    ]
    with _refusing(), _quiet(), stems.cut_heads(_keras_private.model_path(part), copied=True):
        part.export(finished, format="onnx", verbose=False, input_signature=[specs])


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Tells in one line what a converter, or a checker of its work, could not do; not that a disk is full."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        got = _checks.words(" ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip("."))
        raise ValueError(_checks.refusal("onnx", "model", "must convert to ONNX", got, _REPLACE)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter: it logs what the caller is told by an error, and trips over NumPy's warnings."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            # Keras asks NumPy for `np.object` to mend tf2onnx, which still reads it.
            warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _graphs(graph: Any) -> Iterator[Any]:
    """Yields a graph and those inside it: the bodies of loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _refuse_foreign_ops(package: Any, proto: Any) -> None:
    """Refuses operations that the converter left as TensorFlow's own, which no ONNX runtime knows."""
    nodes = [node for graph in _graphs(proto.graph) for node in graph.node]
    foreign = sorted({node.op_type for node in nodes if not package.defs.has(node.op_type, node.domain)})
    got = _checks.words(", ".join(foreign))
    _checks.require(not foreign, "onnx", "model", "must use operations that ONNX has", got, _REPLACE)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Gives inputs and outputs their names; an inner tensor that has one of them makes way."""
    taken = set(names.values())

    def renamed(name: str) -> str:
        # No name of an input or a task holds a slash.
        return names.get(name) or (f"inner/{name}" if name in taken else name)

    for part in _graphs(graph):
        for node in part.node:
            node.input[:] = map(renamed, node.input)
            node.output[:] = map(renamed, node.output)
        for value in (*part.input, *part.output, *part.initializer, *part.value_info):
            value.name = renamed(value.name)


def _free_batch(graph: Any) -> None:
    """Calls the size that inputs and outputs share by one name, where the converter gave each its own."""
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_param = "batch"
