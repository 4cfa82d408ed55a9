"""What an artifact tells of itself: tasks, labels, units, versions, metrics; the same in every form."""

import datetime
import importlib.metadata
import json
import math
from collections.abc import Mapping
from typing import Any

import keras

from kmtl import _checks
from kmtl._keras_private import model_path

FILE = "kmtl.json"
_FORMAT = 1


def refuse_description(refusals: _checks.Refusals, metrics: Any, about: Any) -> None:
    """Records metrics that are no numbers by name, and an `about` that is no text by heading."""
    numbers = metrics is None or isinstance(metrics, Mapping)
    if not numbers or not all(isinstance(key, str) and _is_real(value) for key, value in (metrics or {}).items()):
        fix = "Pass what model.evaluate(test, return_dict=True) returns."
        refusals.add("metrics", "must be numbers by name", metrics, fix)
    told = {"": about} if isinstance(about, str) else about or {}
    if not isinstance(told, Mapping) or not all(isinstance(text, str) for pair in told.items() for text in pair):
        fix = "Pass text, or a dict of headings and texts such as {'Data': 'Photographs of ...'}."
        refusals.add("about", "must be text", about, fix)


def _is_real(value: Any) -> bool:
    """Whether a value is one number, NaN and NumPy's scalars included."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str | bytes)


def description(
    model: Any,
    outputs: Mapping[str, Any],
    *,
    name: str = "",
    metrics: Mapping[str, float] | None = None,
    about: Mapping[str, str] | str | None = None,
) -> dict[str, Any]:
    """Describes what is exported, in terms that JSON knows.

    Args:
        model: A functional model.
        outputs: The output tensors that are exported, by task name.
        name: What a server calls the model.
        metrics: Measured numbers by name, as `model.evaluate(test, return_dict=True)` returns; NaN becomes None.
        about: Text for the model card, or texts by heading.

    Returns:
        The keys `format`, `name`, `made` (versions, time in UTC), `tasks` (by name: kind, shape of one output, what its
        numbers mean, label names, unit, threshold of a yes), `inputs` (by name: shape, dtype, and what layers that
        read it tell by an attribute `about_input`, as the rate of a sound), `parameters`, `balancer`, `loss_weights`,
        `metrics`, `about`.

    >>> row = keras.Input((4,), name="row")
    >>> model = keras.Model(row, {"width": keras.layers.Dense(2)(row)})
    >>> told = description(model, model.output, name="shapes")
    >>> told["tasks"]["width"]["shape"], told["inputs"]["row"], told["parameters"]
    ([2], {'shape': [None, 4], 'dtype': 'float32'}, 10)
    """
    tasks = getattr(model, "tasks", None) or {}
    compiled = bool(tasks) and model.compiled
    return {
        "format": _FORMAT,
        "name": name,
        "made": _made(),
        "tasks": {task: _task(tasks.get(task), tensor) for task, tensor in outputs.items()},
        "inputs": {
            tensor.name: {
                "shape": [None, *tensor.shape[1:]],
                "dtype": str(tensor.dtype),
                **_told_by_readers(model, tensor),
            }
            for tensor in model.inputs
        },
        "parameters": keras.Model(model.inputs, dict(outputs)).count_params(),
        "balancer": type(model.balancer).__name__ if compiled else None,
        "loss_weights": {task: model.loss_weights[task] for task in outputs} if compiled else None,
        "metrics": {key: _number(value) for key, value in (metrics or {}).items()},
        "about": {"": about} if isinstance(about, str) else dict(about or {}),
    }


def _told_by_readers(model: Any, tensor: Any) -> dict[str, Any]:
    """What the layers that read an input tell of it."""
    told: dict[str, Any] = {}
    for node in model_path(model).nodes:
        if any(one is tensor for one in node.input_tensors):
            told |= getattr(node.operation, "about_input", {})
    return told


def _made() -> dict[str, str]:
    """The time and the versions of what made the artifact."""
    versions = {package: importlib.metadata.version(package) for package in ("kmtl", "keras", "tensorflow")}
    return {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **versions}


def _task(task: Any, tensor: Any) -> dict[str, Any]:
    """What a reader of one output must know; of a plain Keras output nothing but its shape is known."""
    shape = list(tensor.shape[1:])
    if task is None:
        return {"kind": None, "shape": shape, "meaning": None, "label_names": None, "unit": "", "threshold": None}
    return {**task.output_description(), "shape": shape}


def _number(value: Any) -> float | None:
    """A number that JSON can hold: it has no NaN and no infinity."""
    return float(value) if math.isfinite(float(value)) else None


def text(told: Mapping[str, Any]) -> str:
    r"""Writes a description as JSON in plain ASCII, whatever script its label names are in.

    >>> text({"unit": "µm"})
    '{\n  "unit": "\\u00b5m"\n}\n'
    """
    return json.dumps(told, indent=2, allow_nan=False) + "\n"
