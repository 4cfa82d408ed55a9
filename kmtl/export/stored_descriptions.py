"""Reads what an artifact tells of itself, which anyone may have written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmtl import _checks
from kmtl.export.describing import FILE

_MOST_BYTES = 64 * 2**20
_OBJECTS, _OPTIONAL = ("made", "tasks", "inputs"), ("metrics", "images")


def read(path: Path) -> dict[str, Any]:
    """Reads a description beside a SavedModel.

    Returns:
        What it tells; nothing if no file is there.

    Raises:
        ValueError: If it is no JSON, has an odd part, or is larger than any description is.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > _MOST_BYTES:
        got = _checks.words(f"{path.stat().st_size:,} bytes")
        raise ValueError(_checks.refusal(FILE, FILE, f"must be a file of at most {_MOST_BYTES:,} bytes", got))
    try:
        return checked(json.loads(path.read_bytes()))
    except RecursionError as error:
        raise ValueError(_checks.refusal(FILE, FILE, "must be flat", _checks.words("one nested too deeply"))) from error


def checked(told: Any) -> dict[str, Any]:
    """Returns a description that was read as JSON, or refuses one that no export writes.

    Args:
        told: What was read; None and an empty dict tell nothing.

    Raises:
        ValueError: If a part is of a wrong type. All offenders at once.

    >>> checked({"made": {"time": "now"}, "tasks": [], "inputs": {}})
    Traceback (most recent call last):
    ...
    ValueError: kmtl.json: `tasks` must be an object, got [].
    """
    if told is None or told == {}:
        return {}
    with _checks.Refusals(FILE) as refusals:
        if not isinstance(told, Mapping):
            refusals.add(FILE, "must be an object", _checks.words(type(told).__name__))
            refusals.check()
        for key in (*_OBJECTS, *_OPTIONAL):
            if not isinstance(told.get(key), Mapping) and not (key in _OPTIONAL and told.get(key) is None):
                refusals.add(key, "must be an object", told.get(key))
        refusals.check()
        _refuse_parts(refusals, told)
    return dict(told)


def _refuse_parts(refusals: _checks.Refusals, told: Mapping[str, Any]) -> None:
    """Records what a part holds that it never does."""
    if not _checks.is_whole(told.get("parameters")):
        refusals.add("parameters", "must be a whole number", told.get("parameters"))
    # With their forms, or their names alone.
    signatures = told.get("signatures") or ()
    if not isinstance(signatures, Mapping | list | tuple) or not all(isinstance(name, str) for name in signatures):
        refusals.add("signatures", "must be named", signatures)
    if not isinstance(told.get("quantize"), str | None):
        refusals.add("quantize", "must be text", told["quantize"])
    if "time" not in told["made"] or not all(isinstance(value, str) for value in told["made"].values()):
        refusals.add("made", "must hold the time and versions as text", told["made"])
    for name, task in told["tasks"].items():
        if not _is_task(task):
            refusals.add(f"tasks[{name!r}]", "must tell kind, shape, label names and unit", task)
    odd = {name: value for name, value in (told.get("metrics") or {}).items() if not _is_metric(value)}
    if odd:
        refusals.add("metrics", "must be numbers", odd)


def _is_metric(value: Any) -> bool:
    """Whether a value is a number, or None, which stands for what JSON has no number for."""
    return value is None or _checks.is_number(value)


def _is_task(task: Any) -> bool:
    """Whether a task is told as exports tell it."""
    if not isinstance(task, Mapping) or not {"kind", "shape", "label_names", "unit"} <= set(task):
        return False
    shape, names = task["shape"], task["label_names"]
    texts = isinstance(task["kind"], str | None) and isinstance(task["unit"], str | None)
    sizes = isinstance(shape, list) and all(size is None or _checks.is_whole(size) for size in shape)
    named = names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    return texts and sizes and named
